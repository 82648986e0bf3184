"""Predictions about a kind of training run: its seeds are the units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.base import (
    OF_CONTRAST,
    OF_CONTROL,
    Judgement,
    Measured,
    NullControl,
    Prediction,
    judgement,
    read_against,
)
from refutable.predictions.groups import (
    GroupPrediction,
    by_seed,
    excluded,
    seed_mean,
    seed_name,
    seeds_against_copies,
)
from refutable.predictions.labels import PerFamily, scalar
from refutable.predictions.regions import closed, equality
from refutable.records import Control, Decision, Region, Verdict
from refutable.stats import build, decide
from refutable.stats import estimate as est
from refutable.stats.controls import numbers_contrast
from refutable.stats.core import Floats
from refutable.system import wording


@dataclass(frozen=True, slots=True)
class _OfSeeds(GroupPrediction):
    """One number per seed of a group of models that differ in the seed alone."""

    of_values: ClassVar[bool] = True

    def per_family(self, values: Mapping[str, object], error: float = 0.0) -> PerFamily:
        """One number per seed."""
        members = by_seed(values, self.names[0])
        numbers = {seed: scalar(members[seed]) for seed in sorted(members, key=_place)}
        return PerFamily(
            tuple(seed_name(seed, self.names[0]) for seed in numbers),
            np.array(list(numbers.values()), dtype=float),
            len(numbers),
            error,
        )

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the training seeds against the copies of the control, one number each."""
        copies = np.concatenate([self.per_family(c).means for c in control.values])
        model = self.per_family(measured.values).means
        if control.kind == "placebo":
            return self._beside_placebo(measured, control, model - copies)
        return seeds_against_copies(model, copies, self.region, measured, control)

    def _beside_placebo(
        self, measured: Measured, control: NullControl, differences: Floats
    ) -> Control:
        """Hold each training seed against the placebo measured on it."""
        of_placebo = self.per_family(control.values[0])
        alone = seed_mean(of_placebo, measured, self.region, measured.error)
        apart = seed_mean(
            replace(of_placebo, means=differences), measured, self.region, 2 * measured.error,
            differences=True,
        )  # fmt: skip
        return read_against(
            control, replace(alone, p=None, part=OF_CONTROL),
            replace(apart, p=None, part=OF_CONTRAST), self.region,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OverSeeds(_OfSeeds):
    """The mean over training seeds, with the t interval on seeds."""

    kind: ClassVar[str] = "over_seeds"
    what: ClassVar[str] = "mean over training seeds"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        seeds = f"training seeds of {self.names[0]}{excluded(self.left_out)}"
        return f"mean over the {seeds} {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide by the t interval over seeds; fewer than five seeds decide nothing.

        Where the body returns a value for each prompt, by the two-way interval over seeds and
        families.
        """
        families = self._by_family(measured.values)
        if families is None:
            numbers = self.per_family(measured.values)
            made = seed_mean(numbers, measured, self.region, measured.error)
            return judgement([made], self.region)
        _, table, n = families
        estimate = est.two_way(
            table, n=n, region=self.region, error=measured.error, unit=measured.unit
        )
        return judgement([estimate], self.region)

    def per_family(self, values: Mapping[str, object], error: float = 0.0) -> PerFamily:
        """One number per seed; of values per prompt, each family's mean over seeds."""
        by_family = self._by_family(values)
        if by_family is None:
            return _OfSeeds.per_family(self, values, error)
        names, table, n = by_family
        return PerFamily(names, table.mean(axis=0), n, error, draws=table)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the training seeds against the copies of the control, by family where there are."""
        if self._by_family(measured.values) is None:
            return _OfSeeds.read_control(self, measured, control)
        return Prediction.read_control(self, measured, control)

    def against_control(self) -> SeedsAgainstControl:
        """Return the same region for model minus control: what training adds, seeds as units."""
        return SeedsAgainstControl(self.region, self.names, self.left_out)

    def _by_family(
        self, values: Mapping[str, object]
    ) -> tuple[tuple[str, ...], Floats, int] | None:
        """Families, their means (seed, family) and prompts; ``None`` for a number per seed."""
        members = by_seed(values, self.names[0])
        if not all("prompt" in getattr(array, "dims", ()) for array in members.values()):
            return None
        reduced = [self.reduce_member(members[seed]) for seed in sorted(members, key=_place)]
        if not reduced:
            return None
        names = tuple(n for n in reduced[0].names if all(n in r.names for r in reduced))
        return names, np.array([r.of(names) for r in reduced]), min(r.n for r in reduced)


@dataclass(frozen=True, slots=True)
class SeedsAgainstControl(OverSeeds):
    """Mean over training seeds of model minus control; seeds, copies and families are units."""

    kind: ClassVar[str] = "seeds_against_control"
    what: ClassVar[str] = "mean over training seeds of model minus control"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        seeds = f"training seeds of {self.names[0]}{excluded(self.left_out)}"
        return f"mean over the {seeds} of model minus control {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide model minus control, by family where the body returns a value for each prompt."""
        if control is None or not control.values:
            raise ClaimError(
                "a claim against its control needs a control: pass control=untrained()"
            )
        if self._by_family(measured.values) is None:
            copies = np.concatenate([self.per_family(c).means for c in control.values])
            estimate = numbers_contrast(
                self.per_family(measured.values).means, copies, region=self.region,
                error=2 * measured.error, unit=measured.unit,
            )  # fmt: skip
            return judgement([estimate], self.region)
        sides = self.beside(measured, control, self.region)
        if sides is None:
            raise ClaimError("models and control cannot be paired: they share no family")
        return judgement([replace(sides[1], part="")], self.region)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Show both sides; the contrast is the claim itself, so it needs no reading."""
        reading = OverSeeds.read_control(self, measured, control)
        said = "model minus control is what the claim is about"
        return replace(
            reading, reading=None, reason=reading.reason if reading.contrast is None else said
        )


def _place(seed: int | None) -> int:
    return seed or 0


@dataclass(frozen=True, slots=True)
class EachSeed(_OfSeeds):
    """A statement about every training seed: one outside the region refutes it.

    As with every universal statement no number of seeds confirms it; `OverSeeds` states a mean.
    """

    tolerance: float | None = None
    """Half the width of the region where the prediction is an equality."""

    kind: ClassVar[str] = "each_seed"
    what: ClassVar[str] = "value of each training seed"
    sampled: ClassVar[bool] = False
    by_example: ClassVar[bool] = True

    @property
    def statement(self) -> str:
        """The prediction in words."""
        where = (
            wording.region(self.region)
            if self.tolerance is None
            else equality(self.region, self.tolerance)
        )
        return f"{self.what} of {self.names[0]} {where}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Hold every seed's number against the region, and the one farthest out decides."""
        reduced = self.per_family(measured.values)
        parts = tuple(
            replace(est.exact(float(value), measured.error, unit=measured.unit), part=name)
            for name, value in zip(reduced.names, reduced.means, strict=True)
        )
        if not parts:
            return judgement([build.undecidable("no seeds", unit=measured.unit)], self.region)
        decided = [decide.settle(part, self._decided_in(), sampled=False) for part in parts]
        estimate, decision = decide.combine(decided, region=self._decided_in())
        if decision.verdict is Verdict.CONFIRMED:
            count = f"{len(parts)} seed{'s' * (len(parts) > 1)}"
            reason = f"{count}, none outside the region (examples do not confirm)"
            decision = Decision(Verdict.INCONCLUSIVE, reason)
        return Judgement(estimate, parts if len(parts) > 1 else (), decision)

    def _decided_in(self) -> Region:
        return self.region if self.tolerance is None else closed(self.region)
