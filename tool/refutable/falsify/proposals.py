"""Where candidates come from: the vocabulary in turn, edits of good prompts, their crossings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from refutable.falsify.vocabulary import Ids, Vocabulary

Random = np.random.Generator
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Which prompts a search may try."""

    vocabulary: Vocabulary
    min_size: int = 1
    max_size: int = 24
    """In tokens, BOS not counted."""

    def cut(self, ids: Sequence[int]) -> Ids:
        """Return the last tokens of a prompt that is too long: claims are read at the last one."""
        return tuple(ids)[-self.max_size :]

    def allows(self, ids: Ids) -> bool:
        """Whether a prompt is of an allowed size and made of allowed tokens."""
        return self.min_size <= len(ids) <= self.max_size


class Coverage:
    """Prompts that together hold each token of the vocabulary once, before any comes again.

    Parameters
    ----------
    domain : Domain
        For the tokens.
    rng : numpy.random.Generator
        Shuffles them anew each time all have had their turn.
    """

    def __init__(self, domain: Domain, rng: Random) -> None:
        self._domain = domain
        self._rng = rng
        self._waiting: list[int] = []
        self._at = 0

    def take(self, size: int) -> Ids:
        """Return a prompt of the next tokens."""
        while self._at + size > len(self._waiting):
            order = self._rng.permutation(len(self._domain.vocabulary)).tolist()
            ordered = self._domain.vocabulary.ordered
            self._waiting = [*self._waiting[self._at :], *(ordered[i] for i in order)]
            self._at = 0
        self._at += size
        return tuple(self._waiting[self._at - size : self._at])


def token(domain: Domain, rng: Random) -> int:
    """Draw any token."""
    return domain.vocabulary.ordered[int(rng.integers(len(domain.vocabulary)))]


def replace(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Put another token in one place."""
    at = int(rng.integers(len(ids)))
    return (*ids[:at], token(domain, rng), *ids[at + 1 :])


def insert(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Put a token between two."""
    at = int(rng.integers(len(ids) + 1))
    return (*ids[:at], token(domain, rng), *ids[at:])


def drop(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Leave a stretch of tokens out, most often one."""
    width = min(len(ids), 1 + int(rng.geometric(0.5)) - 1) or 1
    at = int(rng.integers(len(ids) - width + 1))
    return (*ids[:at], *ids[at + width :])


def swap(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Let two tokens change places."""
    made = list(ids)
    a, b = rng.integers(len(ids), size=2)
    made[a], made[b] = made[b], made[a]
    return tuple(made)


def repeat(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Say one token twice."""
    at = int(rng.integers(len(ids)))
    return (*ids[: at + 1], *ids[at:])


EDITS: tuple[Callable[[Ids, Domain, Random], Ids], ...] = (replace, insert, drop, swap, repeat)
_UP_TO = np.cumsum([0.4, 0.2, 0.2, 0.1, 0.1])
"""Shares of the edits, added up."""


def mutate(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Edit a prompt once, at times more often."""
    for _ in range(int(rng.geometric(0.7))):
        edit = EDITS[min(int(np.searchsorted(_UP_TO, rng.random(), "right")), len(EDITS) - 1)]
        ids = edit(ids, domain, rng) or ids
    return domain.cut(ids)


def cross(one: Ids, other: Ids, size: int, rng: Random) -> Ids:
    """Join a stretch of one prompt to a stretch of another, to at most `size` tokens.

    Half of the time both are taken whole, as far as the size allows: what either holds that raises
    the margin is then together.
    """
    if rng.random() < 0.5:
        room = max(size // 2, size - len(other))
        return (*one[-room:], *other)[-size:]
    start, end = int(rng.integers(len(one))), int(rng.integers(len(other)))
    return (*one[: start + 1], *other[end:])[-size:]


def coordinate(ids: Ids, domain: Domain, rng: Random, count: int) -> list[Ids]:
    """Try many tokens in one place of a prompt."""
    at = int(rng.integers(len(ids)))
    drawn = rng.integers(len(domain.vocabulary), size=count).tolist()
    ordered = domain.vocabulary.ordered
    return [(*ids[:at], ordered[index], *ids[at + 1 :]) for index in drawn]


def pick(pool: Sequence[T], rng: Random) -> T:
    """Draw from the front of a list that begins with the best, by rank."""
    at = int(len(pool) * rng.random() ** 2)
    return pool[at]
