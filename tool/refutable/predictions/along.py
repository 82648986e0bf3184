"""A prediction about a difference between models along their training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.base import Judgement, Measured, NullControl
from refutable.predictions.contrasts import Contrast
from refutable.predictions.groups import excluded
from refutable.predictions.labels import PerFamily
from refutable.records import Control
from refutable.stats.core import Floats
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr

STEP = "step"
SLOPE, TOKENS, LOSS = "slope", "tokens", "loss"


@dataclass(frozen=True, slots=True)
class ContrastAlong(Contrast):
    """First minus second model at a point of their training, or the slope of that over tokens.

    What the body returns has a dim ``step`` with the coordinates ``tokens`` (trained on) and
    ``loss`` (held out) along it. Each model is reduced to one value per prompt or document first;
    the rest is `Contrast`.
    """

    where: str = SLOPE
    """``slope``: least squares over the base-2 logarithm of the tokens. ``tokens`` or ``loss``:
    the value where that many tokens were seen, or where the held-out loss was first passed."""
    level: float = 0.0
    """Number of tokens, or loss in nats."""

    kind: ClassVar[str] = "contrast_along"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        names = f"{self.names[0]} minus {self.names[1]}{excluded(self.left_out)}"
        what = {
            SLOPE: "slope per doubling of the tokens",
            TOKENS: f"mean over families after {self.level:,.0f} tokens",
            LOSS: f"mean over families at a held-out loss of {self.level:g} nats",
        }[self.where]
        return f"{what} of {names} {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide the contrast of the reduced values."""
        return Contrast.judge(self, replace(measured, values=self._all(measured.values)), control)

    def per_family(self, values: Mapping[str, Any], error: float = 0.0) -> PerFamily:
        """Difference of each family, averaged over seeds; of each seed for one number a model."""
        return Contrast.per_family(self, self._all(values), error)

    def reduce_member(self, values: Mapping[str, Any], error: float = 0.0) -> PerFamily:
        """Reduce what the body returned on one model over its training, then to family means."""
        return Contrast.reduce_member(self, self.reduced(values), error)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the difference against that between copies, which must have a training too."""
        copies = tuple(self._all(values) for values in control.values)
        along = replace(measured, values=self._all(measured.values))
        return Contrast.read_control(self, along, replace(control, values=copies))

    def rests_on(self, values: Any) -> dict[str, xr.DataArray]:
        """Tokens and held-out loss at each step of each model, by which its values are reduced."""
        import xarray as xr

        models = [] if isinstance(values, tuple) else list(_members(values))
        known = [(place, one) for place, one in models if STEP in getattr(one, "dims", ())]
        if not known:
            return {}
        names = [_label(place) for place, _ in known]
        return {
            name: xr.concat(
                [
                    xr.DataArray(one[name].values, {STEP: one[STEP].values}, (STEP,))
                    for _, one in known
                ],
                xr.DataArray(names, dims="trained", name="trained"),
                join="outer",
            )
            for name in (TOKENS, LOSS)
        }

    def completed(self, values: Any, rests: Mapping[str, xr.DataArray]) -> Any:
        """Put tokens and losses back beside the steps of each model."""
        if not {TOKENS, LOSS} <= rests.keys():
            return values
        made: dict[str, dict[Any, Any]] = {name: {} for name in values}
        for place, one in _members(values):
            name, seed = place
            if STEP in getattr(one, "dims", ()):
                steps = [int(step) for step in one[STEP].values]
                at = {"trained": _label(place), STEP: steps}
                one = one.assign_coords(
                    {of: (STEP, rests[of].sel(at).values) for of in (TOKENS, LOSS)}
                )
            made[name][seed] = one
        return made

    def _all(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Reduce what the body returned on every model."""
        return {
            name: {seed: self.reduced(one) for seed, one in members.items()}
            if isinstance(members, Mapping)
            else self.reduced(members)
            for name, members in values.items()
        }

    def reduced(self, values: Any) -> Any:
        """Reduce one model's values over ``step``; values without that dim are as they are.

        Returns
        -------
        xarray.DataArray
            Without the dim ``step``; NaN where the run never reached the point that is asked for.

        Raises
        ------
        ClaimError
            If the array lacks the coordinates.
        """
        if STEP not in getattr(values, "dims", ()):
            return values
        if not {TOKENS, LOSS} <= set(values.coords):
            raise ClaimError("values along training need the coordinates 'tokens' and 'loss'")
        shares = step_weights(values, self.where, self.level)
        weights = values[TOKENS].copy(data=shares).drop_vars([TOKENS, LOSS])
        reduced = (values.drop_vars([TOKENS, LOSS]) * weights).sum(STEP, skipna=False)
        return reduced


def step_weights(values: xr.DataArray, where: str, level: float = 0.0) -> Floats:
    """Share of each step in the slope over the tokens, or in the value at a point, ``(step,)``.

    NaN where the run never reached the point.
    """
    tokens = np.log2(np.asarray(values[TOKENS], dtype=float))
    if where == SLOPE:
        centred = tokens - tokens.mean()
        return np.asarray(centred / (centred**2).sum())
    if where == TOKENS:
        return _interpolation(tokens, float(np.log2(level)))
    # Losses fall: what is passed is passed from above.
    return _interpolation(-np.asarray(values[LOSS], dtype=float), -level)


def _members(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], Any]]:
    """Yield (name, training seed) of each model and its values."""
    for name, members in values.items():
        for seed, one in members.items() if isinstance(members, Mapping) else [(None, members)]:
            yield (name, seed), one


def _label(place: tuple[str, Any]) -> str:
    return f"{place[0]}:{place[1]}"


def _interpolation(coordinates: Floats, at: float) -> Floats:
    """Weights that interpolate linearly at the first crossing; NaN where there is none."""
    weights = np.zeros(len(coordinates))
    for index, place in enumerate(coordinates):
        if np.isclose(place, at, rtol=1e-9, atol=0):
            weights[index] = 1.0
            return weights
        if index and coordinates[index - 1] < at < place:
            share = (at - coordinates[index - 1]) / (place - coordinates[index - 1])
            weights[index - 1 : index + 1] = 1 - share, share
            return weights
    return np.full(len(coordinates), np.nan)
