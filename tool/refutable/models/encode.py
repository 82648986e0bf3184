"""Prompts as token ids, with or without a BOS token in front."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refutable.errors import PromptError
from refutable.records import ModelFacts

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from refutable.models.load import LoadedModel
    from refutable.spec.prompts import Prompt, PromptSet


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt set as one model reads it."""

    ids: tuple[tuple[int, ...], ...]
    """Token ids of each prompt, BOS included where the arm has one."""
    prompt_ids: tuple[str, ...]
    families: tuple[str, ...]
    arm: str
    bos: int | None
    """The token id put first; ``None`` in the arm without BOS."""
    spans: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    """Named positions of each prompt, BOS counted; nothing where no prompt has any."""
    answers: tuple[tuple[int, ...], ...] = ()
    """Token ids of each prompt's right answer; nothing where none has any."""

    def __len__(self) -> int:
        return len(self.ids)

    def labelled(self, values: NDArray[np.generic], *dims: str) -> xr.DataArray:
        """Return an array with a row a prompt, in this order, as an observable has to be.

        Parameters
        ----------
        values : numpy.ndarray
            First dimension prompt.
        *dims : str
            Names of the others.
        """
        import xarray as xr

        coords = {"prompt": [*self.prompt_ids], "family": ("prompt", [*self.families])}
        inside = {dim: range(size) for dim, size in zip(dims, values.shape[1:], strict=True)}
        return xr.DataArray(values, dims=("prompt", *dims), coords=coords | inside)

    def only(self, indices: Sequence[int]) -> Encoded:
        """Keep the prompts at some places."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in indices),
            prompt_ids=tuple(self.prompt_ids[i] for i in indices),
            families=tuple(self.families[i] for i in indices),
            spans=tuple(self.spans[i] for i in indices) if self.spans else (),
            answers=tuple(self.answers[i] for i in indices) if self.answers else (),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """One prompt as it is read."""

    prompt: Prompt
    ids: tuple[int, ...]
    spans: Mapping[str, tuple[int, ...]]


def encode(
    prompts: PromptSet,
    tokenizer: LoadedModel | PreTrainedTokenizerBase | None,
    facts: ModelFacts,
    arm: str,
    *,
    shuffle_seed: int | None = None,
) -> Encoded:
    """Turn prompts into token ids.

    Parameters
    ----------
    prompts : PromptSet
        Text prompts need a tokenizer; prompts given as token ids do not.
    tokenizer : LoadedModel or transformers tokenizer or None
        Special tokens are never added by it: the arm alone says what comes first, also where a
        normalizer, a chat template or the prompt itself brings a BOS token.
    facts : ModelFacts
        For the BOS token, the size of the vocabulary and the context.
    arm : {"no-bos", "bos"}
        Whether ``facts.bos`` is put first.
    shuffle_seed : int, optional
        Permute the tokens of each prompt (BOS stays first). The permutation depends on the seed
        and the prompt's id alone.

    Returns
    -------
    Encoded
        In the order of the prompt set. Prompts that are one to the model (the same ids, as texts of
        a script that it does not know) are kept once.

    Raises
    ------
    PromptError
        For an empty or over-long prompt, ids outside the vocabulary, text without a tokenizer,
        or a BOS arm on a model without a BOS token.
    """
    read_by: PreTrainedTokenizerBase | None
    read_by = getattr(tokenizer, "tokenizer", tokenizer)  # type: ignore[arg-type]
    bos = _bos(facts, arm)
    kept: dict[tuple[int, ...], _Read] = {}
    for prompt in prompts.prompts:
        told, named = _tokens(prompt, read_by, facts)
        reader = read_by if prompt.input_ids is None else None
        stripped = _without_bos(told, prompt, facts, reader)
        tokens = stripped if shuffle_seed is None else _shuffled(stripped, prompt.id, shuffle_seed)
        tokens = tokens if bos is None else (bos, *tokens)
        _check(prompt, tokens, facts)
        # A BOS token that the prompt brought along went, the arm's own came.
        moved = len(stripped) - len(told) + (bos is not None)
        spans = {key: tuple(at + moved for at in value) for key, value in named.items()}
        # A shuffled control has the prompts of what it is a control of.
        kept.setdefault(stripped, _Read(prompt, tokens, spans))
    unique = list(kept.values())
    answers = tuple(_answer(read.prompt, read_by) for read in unique)
    return Encoded(
        ids=tuple(read.ids for read in unique),
        prompt_ids=tuple(read.prompt.id for read in unique),
        families=tuple(read.prompt.family for read in unique),
        arm=arm,
        bos=bos,
        spans=tuple(read.spans for read in unique) if any(r.spans for r in unique) else (),
        answers=answers if any(answers) else (),
    )


def _without_bos(
    tokens: tuple[int, ...],
    prompt: Prompt,
    facts: ModelFacts,
    tokenizer: PreTrainedTokenizerBase | None,
) -> tuple[int, ...]:
    """Leave out the BOS tokens in front, whoever put them there.

    In front is also what follows nothing but blanks and other special tokens: a normalizer's space,
    a mark of the tokenizer's. Further inside, BOS is what the text says.
    """
    if facts.bos is None or facts.bos not in tokens:
        return tokens
    special = set(tokenizer.all_special_ids) if tokenizer is not None else {facts.bos}
    front = 0
    while front < len(tokens) and (
        tokens[front] in special
        or (tokenizer is not None and not str(tokenizer.decode([tokens[front]])).strip())
    ):
        front += 1
    kept = tuple(token for token in tokens[:front] if token != facts.bos) + tokens[front:]
    if not kept:
        raise PromptError(
            f"prompt {prompt.id} holds nothing but BOS tokens for {facts.id}: remove or fill it"
        )
    return kept


def _bos(facts: ModelFacts, arm: str) -> int | None:
    if arm == "no-bos":
        return None
    if arm != "bos":
        raise PromptError(f"expected arm 'bos' or 'no-bos', got arm={arm!r}")
    if facts.bos is None:
        raise PromptError(f"{facts.id} has no BOS token: run the arm 'no-bos' only")
    return facts.bos


def _tokens(
    prompt: Prompt, tokenizer: PreTrainedTokenizerBase | None, facts: ModelFacts
) -> tuple[tuple[int, ...], Mapping[str, tuple[int, ...]]]:
    """Return a prompt's token ids and its named positions among them."""
    if prompt.input_ids is not None:
        return tuple(int(token) for token in prompt.input_ids), prompt.spans
    if tokenizer is None:
        raise PromptError(
            f"{facts.id} has no tokenizer, and prompt {prompt.id} is text: give input_ids"
        )
    text = prompt.text or ""
    how = {"add_special_tokens": False, "verbose": False}
    if not prompt.marks:
        tokens = tuple(tokenizer(text, **how)["input_ids"])
        return tokens, _checked_spans(prompt, len(tokens), facts)
    if not getattr(tokenizer, "is_fast", False):
        raise PromptError(
            f"the tokenizer of {facts.id} does not say which characters a token covers, which "
            f"the marks of prompt {prompt.id} need: use a fast tokenizer"
        )
    encoded = tokenizer(text, return_offsets_mapping=True, **how)
    ranges = encoded["offset_mapping"]
    named = {}
    for key, (start, end) in prompt.marks.items():
        inside = (at for at, (a, b) in enumerate(ranges) if a < end and b > start)
        named[key] = tuple(inside)
        if not named[key]:
            raise PromptError(f"no token of {facts.id} lies in span {key!r} of prompt {prompt.id}")
    return tuple(encoded["input_ids"]), named


def _checked_spans(prompt: Prompt, length: int, facts: ModelFacts) -> Mapping[str, tuple[int, ...]]:
    for key, positions in prompt.spans.items():
        past = [at for at in positions if at >= length]
        if past:
            raise PromptError(
                f"span {key!r} of prompt {prompt.id} reaches position {past[0]}, past the end: "
                f"the prompt has {length} tokens for {facts.id}"
            )
    return prompt.spans


def _answer(prompt: Prompt, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, ...]:
    if not isinstance(prompt.answer, str):
        return prompt.answer or ()
    if tokenizer is None:
        return ()
    return tuple(tokenizer(prompt.answer, add_special_tokens=False, verbose=False)["input_ids"])


def _shuffled(tokens: tuple[int, ...], name: str, seed: int) -> tuple[int, ...]:
    import numpy as np

    entropy = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
    order = np.random.default_rng(entropy).permutation(len(tokens))
    return tuple(tokens[at] for at in order)


def _check(prompt: Prompt, tokens: tuple[int, ...], facts: ModelFacts) -> None:
    if not tokens:
        raise PromptError(f"prompt {prompt.id} has no tokens for {facts.id}: remove or fill it")
    if len(tokens) > facts.context:
        raise PromptError(
            f"prompt {prompt.id} has {len(tokens)} tokens, {facts.id} takes {facts.context}: "
            "shorten it"
        )
    wrong = [token for token in tokens if not 0 <= token < facts.d_vocab]
    if wrong:
        raise PromptError(
            f"prompt {prompt.id} holds token id {wrong[0]}, {facts.id} knows 0 to "
            f"{facts.d_vocab - 1}: give ids of this model's vocabulary"
        )
