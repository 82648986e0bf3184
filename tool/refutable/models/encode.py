"""Prompts as token ids, with or without a BOS token in front."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from refutable.errors import PromptError
from refutable.records import ModelFacts

if TYPE_CHECKING:
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

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, places: Sequence[int]) -> Encoded:
        """Keep the prompts at some places."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in places),
            prompt_ids=tuple(self.prompt_ids[i] for i in places),
            families=tuple(self.families[i] for i in places),
        )


def encode(
    prompts: PromptSet,
    tokenizer: Any,
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
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    bos = _bos(facts, arm)
    kept: dict[tuple[int, ...], tuple[Prompt, tuple[int, ...]]] = {}
    for prompt in prompts.prompts:
        own = _without_bos(_tokens(prompt, tokenizer, facts), prompt, facts)
        tokens = own if shuffle_seed is None else _shuffled(own, prompt.id, shuffle_seed)
        tokens = tokens if bos is None else (bos, *tokens)
        _check(prompt, tokens, facts)
        # A shuffled control has the prompts of what it is a control of.
        kept.setdefault(own, (prompt, tokens))
    found = list(kept.values())
    return Encoded(
        ids=tuple(tokens for _, tokens in found),
        prompt_ids=tuple(prompt.id for prompt, _ in found),
        families=tuple(prompt.family for prompt, _ in found),
        arm=arm,
        bos=bos,
    )


def _without_bos(tokens: tuple[int, ...], prompt: Prompt, facts: ModelFacts) -> tuple[int, ...]:
    """Leave out the BOS tokens in front, whoever put them there."""
    start = 0
    while start < len(tokens) and facts.bos is not None and tokens[start] == facts.bos:
        start += 1
    if start and start == len(tokens):
        raise PromptError(
            f"prompt {prompt.id} holds nothing but BOS tokens for {facts.id}: remove or fill it"
        )
    return tokens[start:]


def _bos(facts: ModelFacts, arm: str) -> int | None:
    if arm == "no-bos":
        return None
    if arm != "bos":
        raise PromptError(f"expected arm 'bos' or 'no-bos', got arm={arm!r}")
    if facts.bos is None:
        raise PromptError(f"{facts.id} has no BOS token: run the arm 'no-bos' only")
    return facts.bos


def _tokens(prompt: Prompt, tokenizer: Any, facts: ModelFacts) -> tuple[int, ...]:
    if prompt.input_ids is not None:
        return tuple(int(token) for token in prompt.input_ids)
    if tokenizer is None:
        raise PromptError(
            f"{facts.id} has no tokenizer, and prompt {prompt.id} is text: give input_ids"
        )
    encoded = tokenizer(prompt.text or "", add_special_tokens=False, verbose=False)
    return tuple(encoded["input_ids"])


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
