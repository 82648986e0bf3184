"""Predictions about the share of prompts for which something holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from refutable.predictions.base import (
    Judgement,
    Measured,
    NullControl,
    Prediction,
    judgement,
)
from refutable.predictions.labels import PerFamily, labelled, per_family
from refutable.stats import build
from refutable.stats import estimate as est
from refutable.stats.core import Floats
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Share(Prediction):
    """The share of prompts whose value lies above (or below) a limit, or that are true."""

    over: float | None = None
    """Count values above this; ``None``: the body returns true or false (1 or 0)."""

    kind: ClassVar[str] = "share"
    what: ClassVar[str] = "share of prompts, families equally weighted,"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        limit = "" if self.over is None else f"with a value above {self.over!r} "
        return f"{self.what} {limit}{wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide by Clopper and Pearson's limits with families as units.

        Values within the instrument's error of the limit count as misses in the lower limit and
        as hits in the upper one.
        """
        with_labels = labelled(measured.values)
        array = with_labels.values.astype(float)
        reason = "no prompts" if array.size == 0 else build.not_finite(array)
        if reason:
            empty = build.undecidable(reason, unit="share", n=array.size)
            return judgement([empty], self.region)
        shift = 0.0 if self.over is None else measured.error
        low, high = (
            est.share(self._hits(array, by), with_labels.families, region=self.region)
            for by in (-shift, shift)
        )
        p = None if low.p is None or high.p is None else max(low.p, high.p)
        return judgement([replace(low, high=high.high, p=p)], self.region)

    def per_family(self, values: xr.DataArray, error: float = 0.0) -> PerFamily:
        """Share of each family; a count of prompts has no numerical error."""
        with_labels = labelled(values)
        return per_family(
            with_labels, self._hits(with_labels.values.astype(float), 0.0).astype(float)
        )

    def _hits(self, array: Floats, shift: float) -> NDArray[np.bool_]:
        return np.asarray(array != 0 if self.over is None else array + shift > self.over)
