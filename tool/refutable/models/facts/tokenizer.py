"""A tokenizer as facts: what it holds, and what it does to a text by default."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from refutable.system.typing import Json

PROBES = (
    "The capital of France is",
    "  def f(x):\n\treturn x  ",
    "Straße, naïve, ΑΒΓ — 12,345.67 €",
    "日本語 и русский 🙂",
    "ﬁne ｆｕｌｌ １２ e\u0301 <s>[INST] {{x}}",
)
"""Texts whose tokens say how a tokenizer splits: spaces, code, accents, digits, scripts."""
_PIECES = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
_WAYS = ("special", "lstrip", "rstrip", "single_word", "normalized")
_SPECIAL = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")


def tokenizer_facts(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Json]:
    """Describe a tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer or None
        As read from a checkpoint.

    Returns
    -------
    dict
        ``vocabulary`` (token of each id), ``merges``, ``scores`` (of a unigram model), ``pieces``
        (normalizer, pre-tokenizer and so on, as JSON), ``added`` (added tokens by id),
        ``special`` (special tokens and their ids),
        ``default`` (whether a text gets BOS in front and EOS behind by itself), ``template`` (the
        chat template) and ``probes`` (tokens of a few texts). Empty without a tokenizer.
    """
    if tokenizer is None:
        return {}
    backend = _backend(tokenizer)
    model = backend.get("model") or {}
    vocabulary = tokenizer.get_vocab()
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": _by_id(vocabulary),
        "merges": _merges(model),
        "scores": _scores(model),
        "model": {k: v for k, v in sorted(model.items()) if k not in ("vocab", "merges")},
        "pieces": {name: backend.get(name) for name in _PIECES},
        "added": _added(tokenizer),
        "special": _special(tokenizer),
        "default": {"bos": _puts(tokenizer, "bos", first=True), "eos": _puts(tokenizer, "eos")},
        "template": _template(tokenizer),
        "probes": [_ids(tokenizer, text) for text in PROBES],
    }


def _backend(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None or not hasattr(inner, "to_str"):
        return {}
    backend: dict[str, Any] = json.loads(inner.to_str())
    return backend


def _by_id(vocabulary: Mapping[str, int]) -> list[str]:
    size = max(vocabulary.values(), default=-1) + 1
    tokens = [""] * size
    for token, place in vocabulary.items():
        tokens[place] = token
    return tokens


def _merges(model: Mapping[str, Any]) -> list[str]:
    made = model.get("merges") or []
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in made]


def _added(tokenizer: PreTrainedTokenizerBase) -> dict[str, Json]:
    known = getattr(tokenizer, "added_tokens_decoder", None) or {}
    return {
        str(place): [str(token), *(bool(getattr(token, name, False)) for name in _WAYS)]
        for place, token in sorted(known.items())
    }


def _scores(model: Mapping[str, Any]) -> list[float]:
    """Log-probabilities of the pieces of a unigram model, by id."""
    pieces = model.get("vocab")
    if not isinstance(pieces, list):
        return []
    return [float(piece[1]) for piece in pieces if isinstance(piece, list) and len(piece) == 2]


def _special(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    return {
        name: [
            getattr(tokenizer, f"{name}_token", None),
            getattr(tokenizer, f"{name}_token_id", None),
        ]
        for name in _SPECIAL
    }


def _puts(tokenizer: PreTrainedTokenizerBase, kind: str, *, first: bool = False) -> bool:
    """Whether a text gets the special token by default."""
    wanted = getattr(tokenizer, f"{kind}_token_id", None)
    ids = _ids(tokenizer, PROBES[0])
    return wanted is not None and bool(ids) and ids[0 if first else -1] == wanted


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text, verbose=False)["input_ids"]]


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    stated = getattr(tokenizer, "chat_template", None)
    if stated is None:
        return ""
    return stated if isinstance(stated, str) else json.dumps(stated, sort_keys=True)


def ends_of(
    tokenizer: PreTrainedTokenizerBase | None, texts: Sequence[str]
) -> list[list[int]] | None:
    """Return where each token of a text ends, in characters; ``None`` if it cannot be told."""
    if tokenizer is None or not getattr(tokenizer, "is_fast", False):
        return None
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    return [[int(end) for _, end in spans] for spans in encoded["offset_mapping"]]
