"""Predictions about pairs of training runs: how alike two kinds of model are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from refutable.predictions.base import Judgement, PerFamily, Prediction, fresh, judgement, worded
from refutable.records import Control, Estimate
from refutable.stats import build, core, decide, pairs
from refutable.stats.core import Floats

JACKKNIFE = "jackknife over training seeds and families"


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two models are, as the inner product of a vector of each."""

    features: Callable[[Any, int | None], Floats]
    """Vector of what the body returned on a model, whole or with a family left out."""
    families: Callable[[Any], int]
    """Number of families of prompts behind what the body returned."""


@dataclass(frozen=True, slots=True)
class Across(Prediction):
    """Likeness of models of two kinds less that of two models of the second, over pairs of seeds.

    Pairs of one seed are left out: they share initial values and the order of the data.
    """

    first: str = ""
    second: str = ""
    like: Likeness | None = None
    without: tuple[int, ...] = ()
    """Training seeds that do not take part."""

    kind: ClassVar[str] = "across"

    @property
    def says(self) -> str:
        """The prediction in words."""
        what = f"mean likeness of a {self.first} and a {self.second}"
        less = f"minus that of two {self.second}"
        return f"{what} of different seeds, {less}{fresh(self.without)}, {worded(self.region)}"

    @property
    def left_out(self) -> tuple[int, ...]:
        """Training seeds that do not take part."""
        return self.without

    @property
    def names(self) -> tuple[str, ...]:
        """Groups that it compares."""
        return (self.first, self.second)

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return True

    @property
    def title(self) -> str:
        """Short name of the comparison."""
        return f"{self.first}~{self.second}"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide by the jackknife over seeds and over families of prompts.

        Parameters
        ----------
        values : mapping of str to mapping of int to array
            What the body returned, by group and training seed.
        error : float
            The instrument's error of one value; it enters each likeness from both sides.
        """
        compared = self._compare(values)
        if compared is None:
            return judgement([self._undecided(unit)], self.region)
        limits = pairs.pair_limits(compared.across, compared.within)
        return judgement([self._estimate(limits, compared, error, unit)], self.region)

    def per_family(self, values: Any) -> PerFamily:
        """Return what each seed contributes."""
        compared = self._compare(values)
        if compared is None:
            return PerFamily((), np.empty(0), 0)
        means = pairs.by_run(compared.across[0], compared.within[0])
        return PerFamily(tuple(f"seed {s}" for s in compared.seeds), means, len(means))

    def read_control(
        self,
        values: Any,
        controls: Sequence[Any],
        *,
        kind: str,
        models: tuple[str, ...],
        sesoi: float | None,
        error: float,
        seed: int,
        unit: str,
    ) -> Control:
        """Hold the difference against that between the copies of the control, taken in pairs."""
        own, theirs = self._compare(values), self._compare(_together(controls))
        if own is None or theirs is None:
            return Control(kind, models, None, None, None, "too few copies to pair")
        of_copies = pairs.pair_limits(theirs.across, theirs.within)
        control = replace(self._estimate(of_copies, theirs, error, unit), part="control")
        between = _difference(pairs.pair_limits(own.across, own.within), of_copies)
        contrast = self._estimate(between, own, 2 * error, unit)
        contrast = replace(contrast, part="model minus control", p=None)
        found, reason = decide.reading(control, contrast, self.region, sesoi=sesoi)
        return Control(kind, models, control, contrast, found, reason)

    def _estimate(
        self, limits: core.Limits, compared: _Compared, error: float, unit: str
    ) -> Estimate:
        reason = build.not_finite(np.array([*compared.across.flat, *compared.within.flat]))
        if reason:
            return build.undecidable(reason, unit=unit)
        made = build.from_limits(
            limits, n=compared.pairs, clusters=compared.families, error=2 * error, level=0.95,
            unit=unit, method=JACKKNIFE, region=self.region,
        )  # fmt: skip
        return replace(made, seeds=len(compared.seeds))

    def _undecided(self, unit: str) -> Estimate:
        return build.undecidable("fewer than three seeds that both kinds have", unit=unit)

    def _compare(self, values: Mapping[str, Any]) -> _Compared | None:
        """Likeness of all pairs of models, whole and with each family left out."""
        assert self.like is not None  # noqa: S101  (the vocabulary's word demands it)
        first, second = _by_seed(values, self.first), _by_seed(values, self.second)
        seeds = tuple(s for s in first if s in second)
        if len(seeds) < 3:
            return None
        models = [*(first[s] for s in seeds), *(second[s] for s in seeds)]
        count = min(self.like.families(model) for model in models)
        across, within = [], []
        for left_out in (None, *range(count)):
            vectors = np.array([self.like.features(model, left_out) for model in models])
            own, other = vectors[: len(seeds)], vectors[len(seeds) :]
            across.append(own @ other.T)
            within.append(other @ other.T)
        return _Compared(seeds, count, np.array(across), np.array(within))


@dataclass(frozen=True, slots=True)
class _Compared:
    seeds: tuple[int, ...]
    families: int
    across: Floats
    """(1 + family, seed of the first, seed of the second)."""
    within: Floats
    """(1 + family, seed of the second, seed of the second)."""

    @property
    def pairs(self) -> int:
        """Pairs of models of different kinds."""
        return len(self.seeds) * (len(self.seeds) - 1)


def _by_seed(values: Mapping[str, Any], name: str) -> dict[int, Any]:
    found = values.get(name, {})
    return dict(found) if isinstance(found, Mapping) else {}


def _together(controls: Sequence[Any]) -> dict[str, dict[int, Any]]:
    """Bring the copies of a control, one after the other, into the form of training seeds."""
    found: dict[str, dict[int, Any]] = {}
    for copy in controls:
        for name, by_place in copy.items():
            found.setdefault(name, {}).update(by_place)
    return found


def _difference(own: core.Limits, theirs: core.Limits) -> core.Limits:
    """Interval of a difference of two independent values (Welch)."""
    value = own.value - theirs.value
    variance = own.se**2 + theirs.se**2
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.asarray(variance**2 / (own.se**4 / own.df + theirs.se**4 / theirs.df))
    half = core.t_quantile(0.95, df) * np.sqrt(variance)
    return core.Limits(value, np.sqrt(variance), df, value - half, value + half)
