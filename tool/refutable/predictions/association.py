"""Predictions about how values go together: over prompts (correlation) and over depth (trend)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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
    unread,
)
from refutable.predictions.labels import PerFamily, labelled, per_family
from refutable.records import Control, Region
from refutable.stats import build, core
from refutable.stats import correlation as corr
from refutable.stats import estimate as est
from refutable.stats.controls import control_contrast
from refutable.stats.core import Floats

FEWEST_BLOCKS = 5
"""Blocks a trend needs, so that three are left without the first and the last."""

Z_ERROR = 1e-9
"""Rounding of Fisher z."""


@dataclass(frozen=True, slots=True)
class Correlation(Prediction):
    """Correlation of two values over prompts, between families and within them; both must hold."""

    kind: ClassVar[str] = "correlation"
    what: ClassVar[str] = "correlation, between and within families each,"
    change_unit: ClassVar[str] = "Fisher z"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide both parts; the body returns a pair of arrays (or a Dataset of two)."""
        x, y, families = _pair(measured.values)
        parts = corr.correlation_parts(
            x, y, families, error=(measured.error, measured.error), region=self.region
        )
        return judgement(parts, self.region)

    def per_family(self, values: object, error: float = 0.0) -> PerFamily:
        """What each family says of Fisher z within families (jackknife values)."""
        return self._part(values, between=False)

    def compared(self, values: object, error: float = 0.0) -> tuple[PerFamily, ...]:
        """Jackknife values of Fisher z within families, and of that of family means."""
        return self._part(values, between=False), self._part(values, between=True)

    @staticmethod
    def _part(values: object, *, between: bool, among: frozenset[str] | None = None) -> PerFamily:
        x, y, families = _pair(values, among)
        finite = bool(np.isfinite(x).all() and np.isfinite(y).all())
        z = corr.family_correlations(x, y, families, between=between) if finite else {}
        numbers = np.array(list(z.values()), dtype=float)
        name = corr.BETWEEN_PART if between else corr.WITHIN_PART
        return PerFamily(tuple(z), numbers, len(families), Z_ERROR, name)

    def control_region(self) -> Region:
        """Region of the correlation on the Fisher z scale."""
        ends = (self.region.low, self.region.high)
        low, high = (None if end is None else float(core.fisher(end)) for end in ends)
        return Region(low, high)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the within-family correlations against the control's, on the Fisher z scale.

        The control of a large model reads one prompt a family, where nothing lies within: then
        the correlation over these prompts is held against the model's over the same ones.
        """
        on_z = replace(measured, error=0.0, unit=self.change_unit)
        single = [_single(values) for values in control.values]
        if any(prompts is None for prompts in single):
            reading = Prediction.read_control(self, on_z, control)
            return replace(reading, reason=f"within families (Fisher z): {reading.reason}")
        among = frozenset[str].intersection(*(p for p in single if p is not None))
        model, *copies = (
            self._part(values, between=True, among=among)
            for values in (measured.values, *control.values)
        )
        shared = [n for n in model.names if all(n in c.names for c in copies)]
        if not shared:
            return unread(control, "no correlation over one prompt a family")
        table = np.stack([copy.of(shared) for copy in copies])
        how: dict[str, Any] = {"n": len(among), "unit": self.change_unit}
        reading = read_against(
            control, est.two_way(table, part=OF_CONTROL, **how),
            control_contrast(model.table(shared), table, part=OF_CONTRAST, **how),
            self.control_region(),
        )  # fmt: skip
        return replace(reading, reason=f"over one prompt a family (Fisher z): {reading.reason}")


@dataclass(frozen=True, slots=True)
class Trend(Prediction):
    """Slope over the blocks: one least-squares slope per prompt, families as units.

    It speaks about this model's profile: the blocks are its whole population, not a sample.
    """

    over: str = "layer"

    kind: ClassVar[str] = "trend"
    what: ClassVar[str] = "mean slope per block, with and without the first and the last block,"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide the slope over all blocks and over all but the first and last; both must agree."""
        with_labels = labelled(measured.values, extra=(self.over,))
        array, unit = with_labels.values.astype(float), measured.unit
        blocks = array.shape[-1]
        if blocks < FEWEST_BLOCKS:
            reason = f"{blocks} blocks; a trend needs {FEWEST_BLOCKS} or more"
            few = build.undecidable(reason, unit=unit, n=len(with_labels.prompts))
            return judgement([few], self.region)
        parts = [
            replace(
                est.family_mean(
                    core.slopes(part), with_labels.families, unit=_per_block(unit),
                    error=core.slope_error(part.shape[-1], measured.error), region=self.region,
                ),
                part=name,
            )
            for name, part in (
                ("all blocks", array),
                ("without the first and the last block", array[:, 1:-1]),
            )
        ]  # fmt: skip
        return judgement(parts, self.region, agree=True)

    def per_family(self, values: object, error: float = 0.0) -> PerFamily:
        """Mean slope of each family, over all blocks."""
        with_labels = labelled(values, extra=(self.over,))
        array = with_labels.values.astype(float)
        return per_family(with_labels, core.slopes(array), core.slope_error(array.shape[-1], error))


def _per_block(unit: str) -> str:
    return unit if unit.endswith("per block") else f"{unit} per block".strip()


def _single(values: Any) -> frozenset[str] | None:
    """Prompts of a pair of arrays where each family has one; ``None`` where some have more."""
    with_labels = labelled(_arrays(values)[0])
    return (
        frozenset(with_labels.prompts)
        if len(set(with_labels.families)) == len(with_labels.families)
        else None
    )


def _pair(
    values: Any, among: frozenset[str] | None = None
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Both values of each prompt, or of some prompts, and their families."""
    first, second = (labelled(a) for a in _arrays(values))
    if first.prompts != second.prompts:
        raise ClaimError("expected both arrays of a correlation claim over the same prompts")
    keep = np.array([among is None or prompt in among for prompt in first.prompts], dtype=bool)
    families = tuple(f for f, kept in zip(first.families, keep, strict=True) if kept)
    return first.values[keep].astype(float), second.values[keep].astype(float), families


def _arrays(values: Any) -> Sequence[Any]:
    arrays = [values[n] for n in values.data_vars] if hasattr(values, "data_vars") else values
    if not isinstance(arrays, tuple | list) or len(arrays) != 2:
        raise ClaimError("expected the body of a correlation claim to return a pair of arrays")
    return arrays
