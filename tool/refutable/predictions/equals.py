"""Predictions about facts of one checkpoint: a number read off it, without sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from refutable.predictions.base import (
    Judgement,
    Measured,
    NullControl,
    Prediction,
    judgement,
)
from refutable.predictions.labels import PerFamily, scalar
from refutable.predictions.regions import closed
from refutable.records import RANKED, Control, Decision, Region, Verdict
from refutable.stats import estimate as est
from refutable.stats import readings

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Fact(Prediction):
    """A number read off the checkpoint itself (a weight, a count): value and error, no sampling."""

    kind: ClassVar[str] = "fact"
    what: ClassVar[str] = "value"
    sampled: ClassVar[bool] = False
    of_values: ClassVar[bool] = True

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Compare value +- numerical error with the region."""
        value = est.exact(scalar(measured.values), measured.error, unit=measured.unit)
        return judgement([value], self._decided_in(), sampled=False)

    def _decided_in(self) -> Region:
        return self.region

    def per_family(self, values: object, error: float = 0.0) -> PerFamily:
        """Return the one value, as if of a single family."""
        return PerFamily(("checkpoint",), np.array([scalar(values)]), 1, error)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Rank the value among its controls (untrained or rotated copies)."""
        value, numbers = scalar(measured.values), [scalar(c) for c in control.values]
        reading, reason = readings.reading_by_rank(value, numbers, self.region)
        middle = float(np.median(numbers)) if numbers else float("nan")
        estimate = est.exact(middle, unit=measured.unit, n=len(numbers))
        contrast = est.exact(value - middle, unit=measured.unit, n=len(numbers))
        return Control(control.kind, control.models, estimate, contrast, reading, reason)


@dataclass(frozen=True, slots=True)
class Rank(Fact):
    """A rank among copies of a null control: it can confirm, and refutes nothing.

    A rank that is not small is what a small difference gives, and few copies: a failure to tell
    apart, which is no evidence of being alike.
    """

    kind: ClassVar[str] = "rank"
    what: ClassVar[str] = "rank among copies of the control"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Confirm a rank inside the region; any other leaves the claim open."""
        value = est.exact(scalar(measured.values), measured.error, unit=measured.unit)
        made = judgement([value], self.region, sampled=False)
        if made.decision.verdict is not Verdict.REFUTED:
            return made
        reason = f"rank {value.value:.3g}: not told from the copies, which refutes nothing"
        return replace(made, decision=Decision(Verdict.INCONCLUSIVE, reason))

    def rests_on(self, values: object) -> dict[str, xr.DataArray]:
        """What was ranked, the model's number first; nothing of a rank that a body made itself."""
        import xarray as xr

        ranked = getattr(values, "attrs", {}).get(RANKED)
        if ranked is None:
            return {}
        order, numbers = ranked
        numbered = ["model", *range(len(numbers) - 1)]
        return {f"ranked {order}": xr.DataArray(list(numbers), {"copy": numbered}, ("copy",))}


@dataclass(frozen=True, slots=True)
class Equals(Fact):
    """A number that must equal a stated one, to within a tolerance that is part of the claim."""

    value: float = 0.0
    tolerance: float = 0.0

    kind: ClassVar[str] = "equals"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        margin = f" to within {self.tolerance:g}" if self.tolerance else " exactly"
        return f"{self.what} equal to {self.value:g}{margin}"

    def _decided_in(self) -> Region:
        return closed(self.region)
