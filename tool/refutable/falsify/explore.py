"""The batched exploration: hundreds of candidates a pass, the best of them varied further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from refutable.falsify import proposals
from refutable.falsify.budget import Meter
from refutable.falsify.core import Cores, reduce_to_core
from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Coverage, Domain
from refutable.falsify.vocabulary import Ids

Score = Callable[[Sequence[Ids]], list[Scored]]
Propose = Callable[[Ids, int], list[Ids]]
"""Gives replacements of a prompt that are likely to raise the margin, so many of them."""

_POOL = 24
# Candidates of a round, by where they come from.
_ROUND = 64
_PLAIN = 16
_EXTENDED = 24
_VARIED = 8
_OF_GRADIENT = 24


@dataclass(slots=True)
class Trace:
    """What an exploration did and found."""

    best: list[Scored] = field(default_factory=list)
    """The worst prompts for the claim, the worst first; no two with the same tokens."""
    how: Counter[str] = field(default_factory=Counter)
    """Candidates scored, by where they came from."""
    origin: dict[Ids, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Explorer:
    """Looks for prompts that violate a claim.

    Parameters
    ----------
    score : callable
        Gives the margin of each prompt of a batch.
    domain : Domain
        Which prompts may be tried.
    meter : Meter
        What may be spent.
    rng : numpy.random.Generator
        Every random choice.
    bound : float
        A margin above this is a violation: the search ends there.
    propose : callable, optional
        Gradient-ranked replacements, where the model has gradients.
    """

    def __init__(
        self,
        score: Score,
        domain: Domain,
        meter: Meter,
        rng: np.random.Generator,
        *,
        bound: float,
        propose: Propose | None = None,
    ) -> None:
        self._score = score
        self._domain = domain
        self._meter = meter
        self._rng = rng
        self._bound = bound
        self._propose = propose
        self._coverage = Coverage(domain, rng)
        self._seen: set[Ids] = set()
        self._climbed: set[Ids] = set()
        self._reduced: set[Ids] = set()
        self._usual: list[float] = []
        self._cores = Cores(domain, rng)
        self.trace = Trace()

    @property
    def violated(self) -> bool:
        """Whether the best prompt violates the claim."""
        best = self.trace.best
        return bool(best) and best[0].margin > self._bound

    def run(self, seeds: Sequence[Ids], *, until: float = 1.0) -> Trace:
        """Explore until a violation is found or the share `until` of the budget is spent.

        Parameters
        ----------
        seeds : sequence of tuple of int
            Prompts to begin with, such as the worst of the run's own sets; they may be longer
            than the domain allows.
        """
        whole = [ids for ids in dict.fromkeys(seeds) if len(ids) >= self._domain.min_size]
        self._try({ids: "seed" for ids in whole}, whole=True)
        if not self.violated:
            self._try({end: "end of a seed" for s in whole for end in self._ends(s)})
        while not self.violated and self._meter.left > 0 and self._meter.share < until:
            if not self._try(self._round()):
                break
        return self.trace

    def _ends(self, seed: Ids) -> list[Ids]:
        cut = self._domain.cut(seed)
        return [cut, *proposals.tails(seed, self._domain)]

    def _round(self) -> dict[Ids, str]:
        """Make the candidates of one round, each with where it came from."""
        pool = [one.ids for one in self.trace.best[:_POOL]]
        made: dict[Ids, str] = {}
        for _ in range(_PLAIN if pool else _ROUND):
            made.setdefault(self._coverage.take(self._size()), "vocabulary in turn")
        if not pool:
            return made
        self._find_core()
        for child in self._cores.extensions(_EXTENDED):
            made.setdefault(child, "vocabulary behind the best")
        self._climb(pool, made)
        for child in proposals.coordinate(pool[0], self._domain, self._rng, _VARIED):
            made.setdefault(child, "coordinate")
        for _ in range(_VARIED):
            one, other = (proposals.pick(pool, self._rng) for _ in range(2))
            made.setdefault(proposals.cross(one, other, self._domain, self._rng), "crossing")
            made.setdefault(proposals.mutate(one, self._domain, self._rng), "mutation")
        return made

    def _find_core(self) -> None:
        """Reduce the best prompt that was not reduced yet, if it stands out."""
        start = next((s for s in self.trace.best[:3] if s.ids not in self._reduced), None)
        if start is None or len(self._usual) < _ROUND // 4:
            return
        self._reduced.add(start.ids)
        usual = float(np.median(self._usual))
        core = reduce_to_core(start, usual, self._reducing, self._domain.min_size)
        self._reduced.add(core.ids)
        self._cores.add(core)

    def _reducing(self, prompts: Sequence[Ids]) -> list[Scored]:
        return self._try(dict.fromkeys(prompts, "reduction"))

    def _climb(self, pool: list[Ids], made: dict[Ids, str]) -> None:
        """Follow the gradient from the best prompt that it was not followed from yet."""
        if self._propose is None:
            return
        start = next((ids for ids in pool[:6] if ids not in self._climbed), None)
        if start is None:
            return
        self._climbed.add(start)
        for child in self._propose(start, _OF_GRADIENT):
            made.setdefault(child, "gradient")

    def _size(self) -> int:
        """Draw a size: short prompts cost little, long ones hold many tokens at once."""
        low, high = max(self._domain.min_size, 2), self._domain.max_size
        sizes = [n for n in (3, 8, 16, 16) if low <= n <= high] or [max(self._domain.min_size, 1)]
        return sizes[int(self._rng.integers(len(sizes)))]

    def _try(self, made: dict[Ids, str], *, whole: bool = False) -> list[Scored]:
        """Score what is new of some candidates, as far as the budget goes, and keep the best."""
        new = {
            ids: how
            for ids, how in made.items()
            if ids not in self._seen and (whole or self._domain.allows(ids))
        }
        chosen = list(new)[: self._meter.left]
        if not chosen:
            return []
        self._seen.update(chosen)
        self._meter.spend(len(chosen))
        scored = self._score(chosen)
        for ids, one in zip(chosen, scored, strict=True):
            # What is scored may be the beginning of a candidate that is worse than the whole.
            self.trace.how[new[ids]] += 1
            self.trace.origin.setdefault(one.ids, new[ids])
            if new[ids] == "vocabulary in turn" and np.isfinite(one.margin):
                self._usual.append(one.margin)
        known = [one for one in scored if np.isfinite(one.margin)]
        # Of equal margins the shorter prompt comes first, so that variation starts from it.
        ordered = sorted([*self.trace.best, *known], key=lambda one: (-one.margin, len(one.ids)))
        self.trace.best = _diverse(ordered)
        return scored


def _diverse(ordered: list[Scored], most: int = 4 * _POOL) -> list[Scored]:
    """Keep the best, but of prompts made of the same tokens the first alone."""
    kept: list[Scored] = []
    seen: set[frozenset[int]] = set()
    for one in ordered:
        key = frozenset(one.ids)
        if key not in seen:
            seen.add(key)
            kept.append(one)
        if len(kept) == most:
            break
    return kept
