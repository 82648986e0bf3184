"""Predictions about model minus null control: what training, or order, adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from refutable.errors import ClaimError
from refutable.predictions.base import Judgement, PerFamily, Prediction, judgement, worded
from refutable.predictions.single import Mean
from refutable.records import Control


@dataclass(frozen=True, slots=True)
class AgainstControl(Prediction):
    """The mean over families of model minus control, control seeds and families as units."""

    kind: ClassVar[str] = "against control"
    what: ClassVar[str] = "mean over families of model minus control"
    needs_control: ClassVar[bool] = True

    @property
    def says(self) -> str:
        """The prediction in words."""
        return f"{self.what} {worded(self.region)}"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Refuse: without its control the claim says nothing."""
        raise ClaimError("a claim against its control needs a control: pass control=untrained()")

    def judge_against(
        self, values: Any, controls: Sequence[Any], *, error: float, seed: int, unit: str
    ) -> Judgement:
        """Decide model minus control by the two-way interval.

        Parameters
        ----------
        values : xarray.DataArray
            The model's values, one per prompt.
        controls : sequence, (control seed,)
            The same body's values on each control.
        error, seed, unit
            As for `Prediction.judge`.
        """
        control = self.read_control(
            values, controls, kind="", models=(), sesoi=None, error=error, seed=seed, unit=unit
        )
        if control.contrast is None:
            raise ClaimError(f"model and control cannot be paired: {control.reason}")
        return judgement([replace(control.contrast, part="")], self.region)

    def per_family(self, values: Any) -> PerFamily:
        """Family means."""
        return Mean(self.region).per_family(values)

    def read_control(self, values: Any, controls: Sequence[Any], **how: Any) -> Control:
        """Show both sides; the contrast is the claim itself, so it needs no reading."""
        found = Mean(self.region).read_control(values, controls, **how)
        said = "model minus control is what the claim is about"
        return replace(found, reading=None, reason=found.reason if found.contrast is None else said)
