"""The tokens that a search may use, from the simplest to the strangest.

The order is stated, so that "simpler" means the same everywhere: tokens that stand for readable
text before those that do not, shorter text before longer, lower ids before higher. Tokenizers that
merge pairs number their tokens by how common they were, so a lower id is a commoner token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import PromptError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from refutable.records import ModelFacts

Ids = tuple[int, ...]
UNREADABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Tokens in the order of simplicity."""

    ordered: Ids
    """The simplest first."""
    rank: NDArray[np.int64]
    """Place of each id in `ordered`; ids that are left out come after all others."""
    tokenizer: PreTrainedTokenizerBase | None
    """``None`` for a model without one."""
    special: frozenset[int]
    """Ids that stand for no text; left out unless asked for."""

    def __len__(self) -> int:
        return len(self.ordered)

    def size_of(self, ids: Sequence[int]) -> tuple[int, list[int]]:
        """Return what is smaller of two prompts: fewer tokens, then simpler ones."""
        return len(ids), sorted((int(self.rank[i]) for i in ids), reverse=True)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids with control characters escaped; ids without a tokenizer."""
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        return escaped(decode(self.tokenizer, ids))


def vocabulary(
    tokenizer: PreTrainedTokenizerBase | None, facts: ModelFacts, *, special: bool = False
) -> Vocabulary:
    """Order the tokens of a model.

    Parameters
    ----------
    tokenizer : transformers tokenizer or None
        Without one there are ids alone, and a lower id is simpler.
    facts : ModelFacts
        For the size of the vocabulary and the BOS token.
    special : bool
        Whether tokens that stand for no text (BOS, padding, chat marks) take part.

    Raises
    ------
    PromptError
        If no token is left.
    """
    marks = {i for i in (facts.bos,) if i is not None}
    texts = [""] * facts.d_vocab
    known = facts.d_vocab
    if tokenizer is not None:
        known = min(known, len(tokenizer))
        marks |= set(tokenizer.all_special_ids)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        marks |= {i for i, token in added.items() if token.special}
        texts = tokenizer.batch_decode([[i] for i in range(known)])
    chosen = [i for i in range(known) if special or i not in marks]
    if not chosen:
        raise PromptError(f"{facts.id} has no token that stands for text: allow special tokens")
    ordered = tuple(sorted(chosen, key=lambda i: (not readable(texts[i]), len(texts[i]), i)))
    rank = np.full(facts.d_vocab, len(ordered), dtype=np.int64)
    rank[list(ordered)] = np.arange(len(ordered))
    return Vocabulary(ordered, rank, tokenizer, frozenset(marks))


def readable(text: str) -> bool:
    """Whether a token is text that a reader can see and type."""
    return UNREADABLE not in text and all(c.isprintable() or c in "\n\t" for c in text)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return the text of token ids as it is: no token left out, no space tidied away."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Ids:
    """Return the token ids of a text, without any special token put in front."""
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def escaped(text: str) -> str:
    """Return a text on one line: what cannot be seen is written as an escape, as in Python."""
    return "".join(
        c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text
    )
