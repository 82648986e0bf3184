"""Making a violating prompt as small as it can be, in passes of many candidates.

Each pass scores every single deletion (and the larger ones that save time); when none violates, it
scores simplifications of a token in every place, in the stated order of `Vocabulary`; it ends when
neither violates. What is left is locally minimal: without any one of its tokens, and with any of
them replaced by one of the simplest that are simpler than it, it violates no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refutable.falsify.core import deletions
from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids

SIMPLER = 64
"""Simpler tokens tried in each place, the simplest first, unless more is asked for."""
_PASS = 512


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A violating prompt and how it became small."""

    path: tuple[Scored, ...]
    """Every prompt it went through, the smallest last; each violates by its packed value."""
    candidates: int
    """Prompts scored on the way."""
    complete: bool
    """Whether it is locally minimal; ``False`` when it was cut short."""

    @property
    def smallest(self) -> Scored:
        """The last of the path."""
        return self.path[-1]


class Shrinker:
    """Shrinks prompts that violate a claim.

    Parameters
    ----------
    score : callable
        Gives the margin of each prompt of a batch.
    domain : Domain
        The least size, and the tokens with their order.
    bound : float
        A prompt violates when its margin is above this.
    simpler : int
        Simpler tokens tried in each place.
    most : int, optional
        Candidates after which shrinking is cut short.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Ids]], list[Scored]],
        domain: Domain,
        bound: float,
        *,
        simpler: int = SIMPLER,
        most: int | None = None,
    ) -> None:
        self._score = score
        self._domain = domain
        self._bound = bound
        self._simpler = simpler
        self._most = most
        self._spent = 0

    def __call__(self, start: Scored, keep: Callable[[Scored], None] | None = None) -> Shrunk:
        """Shrink a prompt.

        Parameters
        ----------
        start : Scored
            A prompt that violates.
        keep : callable, optional
            Told of every smaller prompt as soon as it is found.
        """
        path = [start]
        while not self._over:
            smaller = self._shorter(path[-1].ids) or self._plainer(path[-1].ids)
            if smaller is None:
                break
            path.append(smaller)
            if keep is not None:
                keep(smaller)
        return Shrunk(tuple(path), self._spent, not self._over)

    @property
    def _over(self) -> bool:
        return self._most is not None and self._spent >= self._most

    def _violating(self, prompts: Sequence[Ids]) -> list[Scored]:
        self._spent += len(prompts)
        return [one for one in self._score(prompts) if one.margin > self._bound]

    def _shorter(self, ids: Ids) -> Scored | None:
        """Return the shortest prompt that violates without some of the tokens."""
        made = deletions(ids, max(1, self._domain.min_size))
        violating = self._violating(made) if made else []
        return min(violating, key=lambda o: (len(o.ids), -o.margin), default=None)

    def _plainer(self, ids: Ids) -> Scored | None:
        """Return the simplest prompt that violates with one token replaced by a simpler one."""
        made = self._simplifications(ids)
        for start in range(0, len(made), _PASS):
            violating = self._violating(made[start : start + _PASS])
            if violating:
                return min(violating, key=lambda one: self._domain.vocabulary.size_of(one.ids))
            if self._over:
                break
        return None

    def _simplifications(self, ids: Ids) -> list[Ids]:
        """Return replacements of one token by a simpler one, the simplest tokens first."""
        vocabulary = self._domain.vocabulary
        made: dict[Ids, None] = {}
        for other in vocabulary.ordered[: self._simpler]:
            for at, token in enumerate(ids):
                if vocabulary.rank[other] < vocabulary.rank[token]:
                    made[(*ids[:at], other, *ids[at + 1 :])] = None
        return list(made)
