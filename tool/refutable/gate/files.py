"""Config, generation config and tokenizer of two releases, compared as facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refutable.evidence.release import Release
from refutable.gate.facts import Fact, listed, spans

_NEUTRAL = re.compile(
    r"^(dtype|torch_dtype|use_cache|architectures|return_dict|output_\w+|problem_type"
    r"|chunk_size_feed_forward|pretraining_tp|initializer_\w+|gradient_checkpointing"
    r"|(id2label|label2id)\..*|\w*dropout\w*|\w+_pdrop|(pad|unk|sep|cls|mask)_token_id"
    r"|\w*aux_loss\w*|\w*z_loss\w*|router_jitter_noise|seq_aux"
    r"|max_position_embeddings|n_positions|n_ctx|torchscript|tokenizer_class|task_specific_params.*"
    r"|is_encoder_decoder|name_or_path|scale_attn_by_inverse_layer_idx_unused)$"
)
"""Fields of a config that no forward pass of a finished model depends on."""
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx")
_TIED = "tie_word_embeddings"
_ABSENT = object()
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")


def file_facts(base: Release, candidate: Release) -> list[Fact]:
    """Say how everything but the weights differs, one line for each difference."""
    old, new = base.facts, candidate.facts
    return [
        *_config(base, candidate),
        *_generation(old["generation"], new["generation"]),
        *tokenizer_facts(
            old["tokenizer"], new["tokenizer"], same_text=_same_tokens(base, candidate)
        ),
        *_stored(old, new),
    ]


def _same_tokens(base: Release, candidate: Release) -> bool:
    """Whether every prompt that both releases read was cut into the same tokens."""
    for arm, before in base.behaviour.items():
        after = candidate.behaviour.get(arm)
        if after is None or before.prompts != after.prompts:
            continue
        if before.tokens.shape != after.tokens.shape or (before.tokens != after.tokens).any():
            return False
    return True


def _same(a: Any, b: Any) -> bool:
    number = (int, float)
    if isinstance(a, number) and isinstance(b, number) and type(a) is not bool is not type(b):
        return bool(a == b or abs(a - b) <= 1e-6 * max(abs(a), abs(b)))
    return bool(a == b)


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*old, *new}):
        a, b = old.get(name, _ABSENT), new.get(name, _ABSENT)
        nothing = (_ABSENT, None)
        if not _same(a, b) and not (a in nothing and b in nothing):
            yield name, a, b


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "none"
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "none"
    if isinstance(value, float) and value == int(value) and 1 <= abs(value) < 1e9:
        return f"{int(value)}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _config(base: Release, candidate: Release) -> Iterator[Fact]:
    old, new = base.facts, candidate.facts
    told = []
    unread = {*old["unknown"], *new["unknown"]}
    stretched = any(_stretches(side["config"]) for side in (old, new))
    for name, a, b in _pairs(old["config"], new["config"]):
        change = f"{_field(name)} {_change(a, b, new['config'].get('num_hidden_layers'))}"
        if (_NEUTRAL.match(name) and not (name in _LENGTHS and stretched)) or name.split(".")[
            0
        ] in unread:
            told.append(change)
        elif name == _TIED:
            # Whether head and embedding hold the same values is a matter of the tensors.
            held = "" if _head_is_embedding(old) == _head_is_embedding(new) else " not"
            told.append(f"{change} (the same values are{held} shared as before)")
        else:
            yield Fact(
                "config", f"config.json: {change}", True, rank=0 if "model_type" in name else 1
            )
    if old.get("class") != new.get("class"):
        yield Fact("config", f"model class {old['class']} -> {new['class']}", True, rank=0)
    if told:
        yield Fact("config", f"config.json, without effect: {listed(told)}", False, rank=70)


def _field(name: str) -> str:
    """Name a field without the table it stands in, unless several tables have the same fields."""
    parts = name.split(".")
    return parts[-1] if len(parts) < 3 else f"{parts[-1]} of {parts[-2]}"


def _change(a: Any, b: Any, blocks: Any) -> str:
    """Word what a field was and is; of lists of one entry a block, the entries that differ."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b) == blocks:
        other = [i for i, pair in enumerate(zip(a, b, strict=True)) if not _same(*pair)]
        first = other[0]
        if all((a[i], b[i]) == (a[first], b[first]) for i in other):
            word = "block" if len(other) == 1 else "blocks"
            return f"{_shown(a[first])} -> {_shown(b[first])} in {word} {spans(other)}"
    return f"{_shown(a)} -> {_shown(b)}"


def _stretches(config: Mapping[str, Any]) -> bool:
    """Whether rotary positions depend on the context that the config states."""
    kinds = (v for n, v in config.items() if n.rsplit(".", 1)[-1] in ("rope_type", "type"))
    return any(kind in ("dynamic", "longrope", "su", "yarn") for kind in kinds)


def _head_is_embedding(facts: Mapping[str, Any]) -> bool:
    named = {t["name"]: t["digest"] for t in facts["tensors"] if t["name"].endswith(".weight")}
    heads = [d for n, d in named.items() if n in ("lm_head.weight", "embed_out.weight")]
    embeddings = [d for n, d in named.items() if any(word in n for word in _EMBEDDINGS)]
    return bool(set(heads) & set(embeddings))


def _generation(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Fact]:
    changes = [f"{n} {_shown(a)} -> {_shown(b)}" for n, a, b in _pairs(old, new)]
    if changes:
        text = f"generation_config.json: {listed(changes)}"
        yield Fact("generation", text, False, rank=44)


def _stored(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Fact]:
    a, b = old["stored"], new["stored"]
    changes = []
    if a["files"] != b["files"]:
        changes.append(f"weights in {len(b['files'])} files ({b['files'][0]}), were in "
                       f"{len(a['files'])} ({a['files'][0]})")  # fmt: skip
    if a["names"] != b["names"] and a["names"] and b["names"]:
        here, there = set(a["names"]) - set(b["names"]), set(b["names"]) - set(a["names"])
        if here or there:
            changes.append(
                f"{len(there)} tensors under names that were not there, {len(here)} gone"
            )
    if set(a["dtypes"]) != set(b["dtypes"]) and a["dtypes"] and b["dtypes"]:
        changes.append(
            f"saved as {'/'.join(sorted(b['dtypes']))}, were {'/'.join(sorted(a['dtypes']))}"
        )
    if changes:
        yield Fact("stored", "files: " + "; ".join(changes), False, rank=72)


# -- tokenizer -----------------------------------------------------------------------------------


def tokenizer_facts(
    old: Mapping[str, Any], new: Mapping[str, Any], *, same_text: bool = True
) -> list[Fact]:
    """Say how two tokenizers differ.

    Parameters
    ----------
    old, new : mapping
        From `refutable.models.facts.tokenizer`; empty without a tokenizer.
    same_text : bool
        Whether both cut every prompt of the run into the same tokens.
    """
    if not old or not new:
        if bool(old) == bool(new):
            return []
        word = "has no tokenizer any more" if old else "has a tokenizer, the base had none"
        return [Fact("tokenizer", f"the candidate {word}", True, rank=2)]
    alike = same_text and old["probes"] == new["probes"]
    facts = [
        *_defaults(old["default"], new["default"]),
        *_vocabulary(old, new),
        *_merges(old["merges"], new["merges"]),
        *_scores(old.get("scores"), new.get("scores")),
        *_pieces(old, new, alike or old["default"] != new["default"]),
        *_special(old["special"], new["special"]),
    ]
    if old["template"] != new["template"]:
        how = "changed" if old["template"] and new["template"] else (
            "added" if new["template"] else "removed")  # fmt: skip
        facts.append(Fact("tokenizer", f"chat template {how}", False, rank=42))
    if not alike and not any(f.suspect for f in facts):
        facts.append(Fact("tokenizer", "the tokenizer cuts texts into other tokens", True, rank=3))
    return facts


def _defaults(old: Mapping[str, bool], new: Mapping[str, bool]) -> Iterator[Fact]:
    for name in ("bos", "eos"):
        if old[name] != new[name]:
            how = "now adds" if new[name] else "no longer adds"
            where = "in front of" if name == "bos" else "behind"
            yield Fact("tokenizer", f"tokenizer {how} {name.upper()} {where} a text", True, rank=2)


def _vocabulary(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Fact]:
    a, b = old["vocabulary"], new["vocabulary"]
    shared = min(len(a), len(b))
    other = [i for i in range(shared) if a[i] != b[i]]
    if other:
        if sorted(a[i] for i in other) == sorted(b[i] for i in other):
            how = "swapped" if len(other) == 2 else "in another order"
        else:
            how = "differ"
        names = listed([f"{i}: {a[i]!r} -> {b[i]!r}" for i in other], 2)
        text = f"tokenizer vocabulary: {len(other)} entries {how} ({names})"
        yield Fact("tokenizer", text, True, rank=2)
    if len(a) != len(b):
        word = "added" if len(b) > len(a) else "missing"
        more = (b if len(b) > len(a) else a)[shared:]
        text = (
            f"tokenizer vocabulary: {len(more)} entries {word} ({listed([repr(t) for t in more])})"
        )
        yield Fact("tokenizer", text, True, rank=3)


def _merges(old: Sequence[str], new: Sequence[str]) -> Iterator[Fact]:
    if list(old) == list(new):
        return
    gone, come = len(set(old) - set(new)), len(set(new) - set(old))
    if not gone and not come:
        text = "tokenizer merges in another order"
    else:
        words = [f"{gone} missing"] * bool(gone) + [f"{come} new"] * bool(come)
        text = f"tokenizer merges cut: {', '.join(words)} of {len(old)}" if gone and not come else (
            f"tokenizer merges differ: {', '.join(words)} of {len(old)}"
        )  # fmt: skip
    yield Fact("tokenizer", text, True, rank=2)


def _scores(old: Sequence[float] | None, new: Sequence[float] | None) -> Iterator[Fact]:
    """Compare the scores of a unigram model, which earlier runs did not keep."""
    if not old or not new:
        return
    other = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if not _same(a, b)]
    if other:
        names = listed([f"{i}: {old[i]:g} -> {new[i]:g}" for i in other], 2)
        text = f"tokenizer scores: {len(other)} of {len(old)} pieces differ ({names})"
        yield Fact("tokenizer", text, True, rank=2)


def _pieces(old: Mapping[str, Any], new: Mapping[str, Any], alike: bool) -> Iterator[Fact]:
    for name, a, b in _pairs(old["pieces"], new["pieces"]):
        # What only wraps a text shows in what the tokenizer does by default.
        suspect = not (alike and name in ("post_processor", "padding"))
        told = name.replace("_", " ")
        text = f"tokenizer {told} changed ({_kind(a)} -> {_kind(b)})"
        yield Fact("tokenizer", text, suspect, rank=3 if suspect else 74)
    for name, a, b in _pairs(old["model"], new["model"]):
        text = f"tokenizer {name} {_shown(a)} -> {_shown(b)}"
        yield Fact("tokenizer", text, not alike, rank=3 if not alike else 74)
    if old["class"] != new["class"]:
        text = f"tokenizer class {old['class']} -> {new['class']}"
        yield Fact("tokenizer", text, False, rank=74)
    changes = [
        (place, a, b) for place, a, b in _pairs(old["added"], new["added"]) if not _told_alike(a, b)
    ]
    if changes:
        names = listed([f"{i}: {_shown(a)} -> {_shown(b)}" for i, a, b in changes], 2)
        yield Fact("tokenizer", f"added tokens differ ({names})", True, rank=3)


def _told_alike(a: Any, b: Any) -> bool:
    """Whether two added tokens agree in what both runs kept; earlier ones kept less."""
    both = isinstance(a, list) and isinstance(b, list)
    return both and all(_same(x, y) for x, y in zip(a, b, strict=False))


def _kind(piece: Any) -> str:
    return str(piece.get("type", "other")) if isinstance(piece, Mapping) else "none"


def _special(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Fact]:
    for name, a, b in _pairs(old, new):
        before, after = (side if isinstance(side, list) else [None, None] for side in (a, b))
        text = f"{name.upper()} token {before[0]!r} -> {after[0]!r}"
        suspect = name in ("bos", "eos")
        yield Fact("tokenizer", text, suspect, rank=4 if suspect else 74)
