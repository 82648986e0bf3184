"""The batched exploration: hundreds of candidates a pass, the best of them varied further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from refutable.falsify import proposals
from refutable.falsify.budget import DEFAULT, Meter
from refutable.falsify.core import Cores, deletions, shorter
from refutable.falsify.ladder import LENGTHS, ladder
from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Coverage, Domain
from refutable.falsify.vocabulary import Ids

Score = Callable[[Sequence[Ids]], list[Scored]]
Propose = Callable[[Sequence[Ids], int], list[Ids]]
"""Gives replacements of prompts that are likely to raise the margin, so many of each."""

_POOL = 24
_WHOLE, _PROBES = 4, 2
"""Seeds scored whole, and prompts of each length that show where the claim says anything."""
_PLAIN, _OF_GRADIENT, _VARIED = 4, 6, 16
"""One in so many candidates of a round goes through the vocabulary, follows the gradient, or is a
crossing (a mutation, a change in one place); the others extend what is left of the best prompts."""
_REDUCED, _CLIMBED, _EVERY = 3, 8, 3
"""Prompts of a round that are reduced, and that the gradient is followed from every third round."""
_CLIMBING = 60
"""Candidates of a round that are worth a gradient, which costs some forward passes."""


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
    fill : bool
        Whether `score` gives the worst of a prompt and its beginnings: short candidates then share
        passes with longer ones.
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
        fill: bool = False,
    ) -> None:
        self._score = score
        self._domain = domain
        self._meter = meter
        self._rng = rng
        self._bound = bound
        self._propose = propose
        self._coverage, self._filler = Coverage(domain, rng), Coverage(domain, rng)
        self._fill = fill
        self._turn = 0
        self._least = domain.max_size
        self._scored: dict[Ids, Scored] = {}
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
        domain, meter = self._domain, self._meter
        seeds = [ids for ids in dict.fromkeys(seeds) if len(ids) >= domain.min_size]
        lengths = tuple(n for n in LENGTHS if domain.min_size <= n <= domain.max_size)
        lengths = self._begin(seeds, lengths or (domain.min_size,))
        candidates = None if meter.candidates is None else round(until * meter.left)
        shortest = 0
        through = len(domain.vocabulary) if self._fill else None
        for length, count, covering in ladder(through, lengths, candidates, DEFAULT):
            if self.violated or meter.left <= 0 or meter.share >= until:
                break
            ends = [s[-length:] for s in seeds if len(s) > shortest]
            made = dict.fromkeys(ends[: count // 2], "end of a seed") if length > shortest else {}
            if not self._try(self._round(made, length, count, covering)) and length >= lengths[-1]:
                break
            shortest = length
        return self.trace

    def _begin(self, seeds: Sequence[Ids], lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Try the worst seeds and two prompts of each length.

        Returns
        -------
        tuple of int
            The lengths without those below the first at which the claim says anything.
        """
        made = dict.fromkeys(seeds[:_WHOLE], "seed")
        long = sorted(seeds, key=len)[-_PROBES:]
        probes: dict[Ids, str] = {}
        for n in lengths:
            ends = [s[-n:] for s in long if len(s) >= n]
            ends += [self._filler.take(n) for _ in range(_PROBES - len(ends))]
            probes |= dict.fromkeys(ends, "end of a seed" if long else "vocabulary in turn")
        self._try(made | {ids: how for ids, how in probes.items() if ids not in made}, whole=True)
        known = [len(ids) for ids in probes if ids in self._scored and self._says(ids)]
        return tuple(n for n in lengths if n >= min(known, default=0))

    def _says(self, ids: Ids) -> bool:
        return bool(np.isfinite(self._scored[ids].margin))

    def _round(
        self, made: dict[Ids, str], length: int, count: int, covering: bool
    ) -> dict[Ids, str]:
        """Make the candidates of one round, each with where it came from."""
        pool = [one.ids for one in self.trace.best[:_POOL]]
        if not covering and pool:
            made |= dict.fromkeys(self._reductions(), "reduction")
            for child, how in self._variations(pool, length, count).items():
                made.setdefault(self._filled(child, length), how)
            for child in self._cores.extensions(count - len(made) - count // _PLAIN, length):
                made.setdefault(child, "vocabulary behind the best")
        for _ in range(count if covering else count - len(made)):
            made.setdefault(self._coverage.take(length), "vocabulary in turn")
        return made

    def _variations(self, pool: list[Ids], length: int, count: int) -> dict[Ids, str]:
        """Vary the best prompts."""
        few = max(1, count // _VARIED)
        made: dict[Ids, str] = {}
        for _ in range(few):
            one, other = (proposals.pick(pool, self._rng) for _ in range(2))
            made.setdefault(proposals.cross(one, other, length, self._rng), "crossing")
            mutated = proposals.mutate(one, self._domain, self._rng)[-length:]
            made.setdefault(mutated, "mutation")
        for child in proposals.coordinate(pool[0], self._domain, self._rng, few):
            made.setdefault(child, "coordinate")
        self._turn += 1
        if count >= _CLIMBING and self._turn % _EVERY == 1:
            for child in self._climb(pool, _EVERY * count // _OF_GRADIENT):
                made.setdefault(child, "gradient")
        return {ids: how for ids, how in made.items() if ids not in self._scored}

    def _filled(self, ids: Ids, length: int) -> Ids:
        """Add tokens of the vocabulary in turn up to the length of the round, where that is free.

        The prompt itself is then scored as a beginning, and all of a round share full passes.
        """
        return (*ids, *self._filler.take(max(0, length - len(ids)))) if self._fill else ids

    def _reductions(self) -> list[Ids]:
        """Go one step on from the best prompts to their cores; returns what is to be scored."""
        if not self._usual:
            return []
        usual = float(np.median(self._usual))
        asked: list[Ids] = []
        for start in self.trace.best[:_REDUCED]:
            without = deletions(start.ids, self._least)
            scored = [self._scored[ids] for ids in without if ids in self._scored]
            if start.ids not in self._reduced:
                self._reduced.add(start.ids)
                asked += [ids for ids in without if ids not in self._scored]
            # Until its deletions are scored a prompt is taken as it is.
            self._cores.add(shorter(start, usual, scored) or start)
        return asked

    def _climb(self, pool: list[Ids], count: int) -> list[Ids]:
        """Follow the gradient from the best prompts that it was not followed from yet."""
        if self._propose is None:
            return []
        fresh = [ids for ids in pool if ids not in self._climbed]
        starts = [ids for ids in fresh if len(ids) == len(fresh[0])][:_CLIMBED]
        self._climbed.update(starts)
        return self._propose(starts, -(-count // len(starts))) if starts else []

    def _try(self, made: dict[Ids, str], *, whole: bool = False) -> list[Scored]:
        """Score what is new of some candidates, as far as the budget goes, and keep the best."""
        new = {
            ids: how
            for ids, how in made.items()
            if ids not in self._scored and (whole or self._domain.allows(ids))
        }
        chosen = list(new)[: self._meter.left]
        if not chosen:
            return []
        self._meter.spend(len(chosen))
        scored = self._score(chosen)
        for ids, one in zip(chosen, scored, strict=True):
            # What is scored may be the beginning of a candidate that is worse than the whole.
            self._scored[ids] = one
            self.trace.how[new[ids]] += 1
            self.trace.origin.setdefault(one.ids, new[ids])
            if new[ids] == "vocabulary in turn" and np.isfinite(one.margin):
                self._usual.append(one.margin)
        known = [one for one in scored if np.isfinite(one.margin)]
        self._least = min([self._least, *(len(one.ids) for one in known)])
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
