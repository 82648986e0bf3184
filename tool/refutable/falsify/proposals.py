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

    def take(self, size: int) -> Ids:
        """Return a prompt of the next tokens."""
        while len(self._waiting) < size:
            order = self._rng.permutation(len(self._domain.vocabulary))
            ordered = self._domain.vocabulary.ordered
            self._waiting = [*self._waiting, *(ordered[i] for i in order)]
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return tuple(taken)


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
_WEIGHTS = np.array([0.4, 0.2, 0.2, 0.1, 0.1])


def mutate(ids: Ids, domain: Domain, rng: Random) -> Ids:
    """Edit a prompt once, at times more often."""
    for _ in range(int(rng.geometric(0.7))):
        edit = EDITS[int(rng.choice(len(EDITS), p=_WEIGHTS))]
        ids = edit(ids, domain, rng) or ids
    return domain.cut(ids)


def cross(one: Ids, other: Ids, domain: Domain, rng: Random) -> Ids:
    """Join a stretch of one prompt to a stretch of another.

    Half of the time both are taken whole, as far as the size allows: what either holds that raises
    the margin is then together.
    """
    if rng.random() < 0.5:
        half = domain.max_size // 2
        room = max(half, domain.max_size - len(other))
        return domain.cut((*one[-room:], *other))
    start, end = int(rng.integers(len(one))), int(rng.integers(len(other)))
    return domain.cut((*one[: start + 1], *other[end:]))


def coordinate(ids: Ids, domain: Domain, rng: Random, count: int) -> list[Ids]:
    """Try many tokens in one place of a prompt."""
    at = int(rng.integers(len(ids)))
    return [(*ids[:at], token(domain, rng), *ids[at + 1 :]) for _ in range(count)]


def tails(ids: Ids, domain: Domain) -> list[Ids]:
    """Return the ends of a long prompt: 2, 3, 4, 6, 8, 12 and so on of its last tokens."""
    sizes = [n for n in (2, 3, 4, 6, 8, 12, 16, 24) if domain.min_size <= n < len(ids)]
    return [tuple(ids[-n:]) for n in sizes if n <= domain.max_size]


def pick(pool: Sequence[T], rng: Random) -> T:
    """Draw from the front of a list that begins with the best, by rank."""
    at = int(len(pool) * rng.random() ** 2)
    return pool[at]
