"""Predictions about how alike two kinds of model are along their training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.along import SLOPE, STEP, TOKENS, step_weights
from refutable.predictions.groups import excluded
from refutable.predictions.seed_pairs import Across, ComparedRuns
from refutable.stats import pairs
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class AcrossAlong(Across):
    """The slope of `Across` per doubling of the tokens trained on.

    What the body returns on a model has a dim ``step`` with the coordinate ``tokens`` along it,
    the same for all models: they are compared at equal steps.
    """

    kind: ClassVar[str] = "across_along"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        first, second = self.names
        what = "slope per doubling of the tokens of the likeness"
        pair = f"of a {first} and a {second} of different seeds, minus that of two {second}"
        return f"{what} {pair}{excluded(self.left_out)}, {wording.region(self.region)}"

    def compare_runs(self, values: Mapping[str, object]) -> ComparedRuns | None:
        """Likeness of all pairs of models at equal steps: its slope over the tokens."""
        path = self._path(values)
        if path is None:
            return None
        steps, model = path
        weights = step_weights(model, SLOPE)
        return replace(
            steps[0],
            across=np.tensordot(weights, [step.across for step in steps], 1),
            within=np.tensordot(weights, [step.within for step in steps], 1),
        )

    def rests_on(self, values: object) -> dict[str, xr.DataArray]:
        """Slope of the likeness of all pairs, and the difference at each step with its interval."""
        import xarray as xr

        rests = Across.rests_on(self, cast("Mapping[str, object]", values))
        path = self._path(values) if isinstance(values, Mapping) else None
        if path is None:
            return rests
        steps, model = path
        limits = [pairs.pair_limits(step.across, step.within) for step in steps]
        table = [[float(x) for x in (one.value, one.low, one.high)] for one in limits]
        coords = {STEP: model[STEP].values, "end": ["value", "low", "high"]}
        rests["difference along training"] = xr.DataArray(table, coords, (STEP, "end"))
        return rests

    def _path(self, values: Mapping[str, object]) -> tuple[list[ComparedRuns], xr.DataArray] | None:
        """Return the likenesses at each step, and a model that has the coordinates."""
        models = [
            one
            for name in self.names
            for one in cast("Mapping[int, xr.DataArray]", values.get(name, {})).values()
        ]
        if not models:
            return None
        if any(TOKENS not in one.coords for one in models):
            raise ClaimError("values along training need the coordinate 'tokens'")
        if any(not one[TOKENS].equals(models[0][TOKENS]) for one in models):
            raise ClaimError("models are compared at equal steps: their 'tokens' differ")
        compared = [self._at(values, step) for step in range(models[0].sizes[STEP])]
        steps = [one for one in compared if one is not None]
        return (steps, models[0]) if steps else None

    def _at(self, values: Mapping[str, object], step: int) -> ComparedRuns | None:
        members = {
            name: {
                seed: one.isel({STEP: step}, drop=True)
                for seed, one in cast("Mapping[int, xr.DataArray]", values.get(name, {})).items()
            }
            for name in self.names
        }
        return Across.compare_runs(self, members)
