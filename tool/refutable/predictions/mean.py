"""Predictions about the mean over prompt families, and about what it adds to a null control."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from refutable.errors import ClaimError
from refutable.predictions.base import (
    Judgement,
    Measured,
    NullControl,
    Prediction,
    judgement,
)
from refutable.predictions.labels import PerFamily, labelled, reduce_prompts
from refutable.records import Control
from refutable.stats import estimate as est

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Mean(Prediction):
    """The mean over prompt families."""

    kind: ClassVar[str] = "mean"
    what: ClassVar[str] = "mean over families"
    of_values: ClassVar[bool] = True

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide by the t interval on family means (see `Prediction.judge`)."""
        with_labels = labelled(measured.values)
        estimate = est.family_mean(
            with_labels.values, with_labels.families, error=measured.error, unit=measured.unit,
            region=self.region,
        )  # fmt: skip
        return judgement([estimate], self.region)

    def per_family(self, values: xr.DataArray, error: float = 0.0) -> PerFamily:
        """Family means."""
        return reduce_prompts(values, error)

    def against_control(self) -> AgainstControl:
        """Return the same region for model minus control: what training, or order, adds."""
        return AgainstControl(self.region)


@dataclass(frozen=True, slots=True)
class AgainstControl(Prediction):
    """The mean over families of model minus control; either's draws and families are units."""

    kind: ClassVar[str] = "against_control"
    what: ClassVar[str] = "mean over families of model minus control"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide model minus control; the model's own draw counts beside the copies."""
        if control is None:
            raise ClaimError(
                "a claim against its control needs a control: pass control=untrained()"
            )
        sides = self.beside(measured, control, self.region)
        if sides is None:
            raise ClaimError("model and control cannot be paired: they share no family")
        return judgement([replace(sides[1], part="")], self.region)

    def per_family(self, values: xr.DataArray, error: float = 0.0) -> PerFamily:
        """Family means."""
        return reduce_prompts(values, error)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Show both sides; the contrast is the claim itself, so it needs no reading."""
        reading = Prediction.read_control(self, measured, control)
        said = "model minus control is what the claim is about"
        return replace(
            reading, reading=None, reason=reading.reason if reading.contrast is None else said
        )
