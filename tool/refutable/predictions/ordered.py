"""Predictions about groups of prompt families in rising order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

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
    weakest,
)
from refutable.predictions.labels import PerFamily, labelled, reduce_prompts
from refutable.records import Control
from refutable.stats import build
from refutable.stats import estimate as est
from refutable.stats.controls import step_contrast
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Ordered(Prediction):
    """Groups in rising order, each step larger than stated; every adjacent contrast must hold."""

    levels: tuple[tuple[str, ...], ...] = ()
    """Names from smallest to largest; names of one level are taken together."""
    over: str = "register"
    """Coordinate along ``prompt`` that names a family's group."""

    kind: ClassVar[str] = "ordered"
    what: ClassVar[str] = "means ordered over"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        steps = " < ".join(_name(level) for level in self.levels)
        return f"{self.what} {self.over}, {steps}, each step {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide every adjacent contrast by Welch's interval between family means."""
        values, unit = measured.values, measured.unit
        with_labels = labelled(values)
        array = with_labels.values.astype(float)
        reason = (build.not_finite(array) if array.size else "no prompts") or self._unmarked(values)
        if reason:
            undecided = build.undecidable(reason, unit=unit, n=array.size)
            return judgement([undecided], self.region)
        groups = self._groups(values)
        parts = [
            est.difference_of_groups(
                groups[i].means, groups[i + 1].means, n=array.size, error=measured.error,
                unit=unit, region=self.region,
                part=f"{groups[i + 1].part} - {groups[i].part}",
            )
            for i in range(len(groups) - 1)
        ]  # fmt: skip
        return judgement(parts, self.region)

    def per_family(self, values: xr.DataArray, error: float = 0.0) -> PerFamily:
        """Family means."""
        return reduce_prompts(values, error)

    def compared(self, values: xr.DataArray, error: float = 0.0) -> tuple[PerFamily, ...]:
        """Family means of each level, where each has enough families to be tested."""
        if self._unmarked(values) is None:
            groups = self._groups(values, error)
            if all(len(group.names) >= FEWEST_FAMILIES for group in groups):
                return groups
        return (self.per_family(values, error),)

    def _unmarked(self, values: xr.DataArray) -> str | None:
        """Why the groups of the families are not known."""
        if self.over not in values.coords:
            return f"the prompt set does not say the {self.over} of its families"
        pairs = zip(values.coords["family"].values, values.coords[self.over].values, strict=True)
        if len({(str(f), str(m)) for f, m in pairs}) != len(set(labelled(values).families)):
            return f"a prompt family has prompts of more than one {self.over}"
        return None

    def _groups(self, values: xr.DataArray, error: float = 0.0) -> tuple[PerFamily, ...]:
        """Family means of each level."""
        reduced = self.per_family(values, error)
        marks = (str(m) for m in values.coords[self.over].values)
        mark_of = dict(zip(labelled(values).families, marks, strict=True))
        groups = []
        for level in self.levels:
            inside = np.array([mark_of[name] in level for name in reduced.names], dtype=bool)
            names = tuple(n for n, here in zip(reduced.names, inside, strict=True) if here)
            groups.append(PerFamily(names, reduced.means[inside], reduced.n, error, _name(level)))
        return tuple(groups)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold each step against that on the control; the one that tells least is shown.

        Copies of the control and families are units, and the model is one more draw. The reading
        is that of a single step, whose smallest effect is the one that the claim asks for.
        """
        values_of_model, copies = measured.values, control.values
        if any(self._unmarked(values) for values in (values_of_model, *copies)) or len(copies) < 1:
            return unread(control, f"the prompts do not say their {self.over}")
        groups = [self._groups(values) for values in (values_of_model, *copies)]
        shared = [
            [name for name in level[0].names if all(name in group.names for group in level)]
            for level in zip(*groups, strict=True)
        ]
        tables = [
            np.array([group.of(names) for group in level])
            for level, names in zip(zip(*groups, strict=True), shared, strict=True)
        ]
        n, unit = labelled(values_of_model).values.size, measured.unit
        read = {}
        for i, (lower, upper) in enumerate(pairwise(tables)):
            alone = step_contrast(
                lower[1:], upper[1:], n=n, error=2 * measured.error, unit=unit, part=OF_CONTROL
            )
            apart = step_contrast(
                lower[1:], upper[1:], n=n, model=(lower[0], upper[0]), error=4 * measured.error,
                unit=unit, part=OF_CONTRAST,
            )  # fmt: skip
            name = f"{groups[0][i + 1].part} - {groups[0][i].part}"
            read[name] = read_against(control, alone, apart, self.region)
        return weakest(read)


def _name(level: tuple[str, ...]) -> str:
    return "/".join(level)
