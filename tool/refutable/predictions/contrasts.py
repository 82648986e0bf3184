"""Predictions that compare models, or groups of training seeds: a difference, or an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from refutable.predictions.base import (
    Judgement,
    Measured,
    NullControl,
    Prediction,
    judgement,
    weakest,
)
from refutable.predictions.groups import (
    GroupPrediction,
    by_seed,
    excluded,
    seed_mean,
    seed_name,
    seeds_against_copies,
)
from refutable.predictions.labels import PerFamily, is_number
from refutable.records import Control, Estimate, Region
from refutable.stats import build
from refutable.stats import estimate as est
from refutable.stats.core import Floats
from refutable.system import wording

MODELS = "models"


@dataclass(frozen=True, slots=True)
class Contrast(GroupPrediction):
    """First minus second model, paired by family.

    Between groups of seeds: pairs of equal seed, with seeds and families both as random units;
    seeds alone where the body returns one number per model.
    """

    kind: ClassVar[str] = "contrast"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        what = f"mean over families of {self.names[0]} minus {self.names[1]}"
        return f"{what}{excluded(self.left_out)} {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide the contrast; values by name, and by training seed within a group.

        Two single models give a paired t interval on families, two groups of seeds the two-way
        interval. The error is that of one model's value.
        """
        return judgement([_contrast(self, measured, self.names)], self.region)

    def per_family(self, values: Mapping[str, object], error: float = 0.0) -> PerFamily:
        """Difference of each family, averaged over seeds; of each seed for one number a model."""
        difference = _difference(self, values, self.names)
        means = difference.table.mean(axis=0)
        return PerFamily(difference.names, means, difference.n, 2 * error, draws=difference.table)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the difference against that between the copies of the control."""
        difference = _difference(self, measured.values, self.names)
        if not difference.numbers:
            return Prediction.read_control(self, measured, control)
        copies = [self.per_family(c).means for c in control.values]
        return seeds_against_copies(
            difference.table[0], np.concatenate(copies), self.region,
            replace(measured, error=2 * measured.error), control,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrderedModels(GroupPrediction):
    """Models (or groups of seeds) in rising order, each step larger than stated."""

    kind: ClassVar[str] = "ordered_models"
    what: ClassVar[str] = "means ordered over models"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        steps = " < ".join(self.names)
        by = wording.region(self.region)
        return f"{self.what}{excluded(self.left_out)}, {steps}, each step {by}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide every adjacent contrast, paired as in `Contrast`."""
        parts = [
            replace(_contrast(self, measured, (b, a)), part=f"{b} - {a}")
            for a, b in pairwise(self.names)
        ]
        return judgement(parts, self.region)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold each step against that between the control's copies; the weakest one is shown."""
        steps = {
            f"{b} - {a}": Contrast(self.region, (b, a), self.left_out).read_control(
                measured, control
            )
            for a, b in pairwise(self.names)
        }
        return weakest(steps)

    def per_family(self, values: Mapping[str, object], error: float = 0.0) -> PerFamily:
        """Mean step of each family."""
        difference = _difference(self, values, (self.names[-1], self.names[0]))
        steps = len(self.names) - 1
        table = difference.table / steps
        return PerFamily(
            difference.names, table.mean(axis=0), difference.n, 2 * error / steps, draws=table
        )


@dataclass(frozen=True, slots=True)
class _Difference:
    """First minus second of two models or groups of seeds."""

    names: tuple[str, ...]
    """Families, or seeds where each model gives one number."""
    table: Floats
    """(seed, family), or (1, seed) for numbers."""
    n: int
    seeded: bool = False
    """Whether rows are training seeds."""
    numbers: bool = False
    """Whether each model gives one number, so that seeds are the only units."""


def _difference(
    prediction: GroupPrediction, values: Mapping[str, object], names: Sequence[str]
) -> _Difference:
    """Differences of the seeds and families that both sides have."""
    first, second = (by_seed(values, name) for name in names)
    seeds = [s for s in first if s in second]
    numbers = all(is_number(v) for v in (*first.values(), *second.values()))
    sides = [
        (prediction.reduce_member(first[s]), prediction.reduce_member(second[s])) for s in seeds
    ]
    if numbers:
        differences = np.array([[a.means[0] - b.means[0] for a, b in sides]])
        named = tuple(seed_name(s, prediction.title) for s in seeds)
        return _Difference(named, differences, len(seeds), numbers=True)
    seeded = None not in first or None not in second
    if not sides:
        return _Difference(("none",), np.empty((0, 1)), 0, seeded)
    flat = [side for pair in sides for side in pair]
    shared = tuple(n for n in flat[0].names if all(n in s.names for s in flat))
    table = np.array([a.of(shared) - b.of(shared) for a, b in sides])
    return _Difference(
        shared, table.reshape(len(sides), len(shared)), min(s.n for s in flat), seeded
    )


def _contrast(prediction: GroupPrediction, measured: Measured, names: Sequence[str]) -> Estimate:
    """Estimate one difference, by the units that its values have."""
    difference = _difference(prediction, measured.values, names)
    region: Region = prediction.region
    error = 2 * measured.error
    how: dict[str, Any] = {"unit": measured.unit, "region": region}
    if difference.numbers:
        numbers = PerFamily(difference.names, difference.table[0], difference.n)
        return replace(
            seed_mean(numbers, measured, region, error, differences=True), seeds=difference.n
        )
    if not difference.names or not len(difference.table):
        reason = "the two sides share no " + ("seed" if difference.names else "family")
        return build.undecidable(reason, unit=measured.unit)
    if difference.seeded:
        return est.two_way(difference.table, n=difference.n, error=error, **how)
    made = est.family_mean(
        difference.table[0], difference.names, error=error, differences=True, **how
    )
    return replace(made, n=difference.n)
