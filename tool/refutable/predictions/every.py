"""Predictions about every single value: one counterexample refutes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from refutable.predictions.base import Judgement, Measured, NullControl, Prediction
from refutable.predictions.labels import PerFamily, labelled
from refutable.records import Control, Counterexample, Estimate, Reading
from refutable.stats import build, decide
from refutable.stats.core import Floats

if TYPE_CHECKING:
    import xarray as xr

VIOLATION_FACTOR = 10
"""A counterexample must violate by more than this many times the instrument's error."""


@dataclass(frozen=True, slots=True)
class Every(Prediction):
    """Every prompt's value: one counterexample refutes it, no number of examples confirms it."""

    tolerance: float = 0.005
    """A counterexample must violate by more than this, and by more than ten times the error."""

    kind: ClassVar[str] = "every"
    what: ClassVar[str] = "every value"
    sampled: ClassVar[bool] = False
    universal: ClassVar[bool] = True
    by_example: ClassVar[bool] = True
    of_values: ClassVar[bool] = True

    def violations(self, values: Floats) -> Floats:
        """How far each value lies beyond the region; negative inside it."""
        beyond = np.full(np.shape(values), -np.inf)
        if self.region.low is not None:
            beyond = np.maximum(beyond, self.region.low - values)
        if self.region.high is not None:
            beyond = np.maximum(beyond, values - self.region.high)
        return beyond

    def bound(self, error: float) -> float:
        """What a violation must exceed to be a counterexample."""
        return max(self.tolerance, VIOLATION_FACTOR * error)

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Look for the largest violation; further dims (layer, head) are searched too."""
        with_labels = labelled(measured.values, anything=True)
        error, unit = measured.error, measured.unit
        array = with_labels.values.astype(float).reshape(len(with_labels.prompts), -1)
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if array.size == 0 or bad:
            decision = decide.universal(None, 0.0, array.size, bad=bad)
            empty = build.undecidable(decision.reason, unit=unit, n=len(with_labels.prompts))
            return Judgement(empty, (), decision)
        beyond = self.violations(array)
        row, column = np.unravel_index(int(beyond.argmax()), beyond.shape)
        worst, value = float(beyond[row, column]), float(array[row, column])
        decision = decide.universal(worst, self.bound(error), len(with_labels.prompts))
        counterexample = None
        if worst > self.bound(error):
            counterexample = Counterexample(
                with_labels.prompts[row], value, with_labels.families[row]
            )
        estimate = Estimate(
            value, None, None, unit=unit, method=build.SEARCH, n=len(with_labels.prompts),
            clusters=len(set(with_labels.families)), error=error, note="the most extreme value",
        )  # fmt: skip
        return Judgement(estimate, (), decision, counterexample)

    def per_family(self, values: xr.DataArray, error: float = 0.0) -> PerFamily:
        """Largest violation of each family."""
        with_labels = labelled(values, anything=True)
        beyond = self.violations(
            with_labels.values.astype(float).reshape(len(with_labels.prompts), -1)
        )
        names = tuple(dict.fromkeys(with_labels.families))
        families = np.array(with_labels.families)
        worst = np.array([beyond[families == name].max() for name in names])
        return PerFamily(names, worst, len(with_labels.prompts), error)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Count the controls that have a counterexample: there is no interval to contrast."""
        bound = self.bound(measured.error)
        broken = [bool(self.per_family(c).means.max() > bound) for c in control.values]
        violated = bool(self.per_family(measured.values).means.max() > bound)
        shown = f"{sum(broken)} of {len(broken)} controls have a counterexample"
        rank = (1 + broken.count(False)) / (len(broken) + 1)
        if violated or not broken:
            reading = Reading.UNDETERMINED
        elif rank <= decide.ALPHA:
            reading = Reading.INFORMATIVE
        else:
            reading = Reading.UNDETERMINED if any(broken) else Reading.UNINFORMATIVE
        return Control(control.kind, control.models, None, None, reading, shown)
