"""Predictions about pairs of training runs: how alike two kinds of model are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from refutable.predictions.base import (
    IN_CODE,
    OF_CONTRAST,
    OF_CONTROL,
    Judgement,
    Measured,
    NullControl,
    judgement,
    read_against,
    unread,
)
from refutable.predictions.groups import GroupPrediction, excluded
from refutable.predictions.labels import PerFamily, reduce_prompts
from refutable.records import Control, Estimate
from refutable.stats import build, core, pairs
from refutable.stats.core import Floats
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr


JACKKNIFE = "jackknife over training seeds and families"


_Copies = Mapping[str, Mapping[int, "xr.DataArray"]]
"""By name, what the body returned on the copies of a control."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two models are, as the inner product of a vector of each."""

    features: Callable[[xr.DataArray, int | None], Floats]
    """Vector of what the body returned on a model, whole or with a family left out."""
    families: Callable[[xr.DataArray], int]
    """Number of families of prompts behind what the body returned."""
    of_all: Callable[[Sequence[xr.DataArray]], Floats] | None = None
    """Inner products of all pairs of models, whole and with each family left out,
    ``(1 + family, model, model)``: where they cost less together than a vector at a time."""


@dataclass(frozen=True, slots=True)
class Across(GroupPrediction):
    """Likeness of models of two kinds less that of two models of the second, over pairs of seeds.

    Pairs of one seed are left out: they share initial values and the order of the data.
    """

    kernel: Likeness | None = field(default=None, metadata=IN_CODE)

    kind: ClassVar[str] = "across"

    @property
    def statement(self) -> str:
        """The prediction in words."""
        first, second = self.names
        what = f"mean likeness of a {first} and a {second} of different seeds, minus that of two"
        return f"{what} {second}{excluded(self.left_out)}, {wording.region(self.region)}"

    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide by the jackknife over seeds and over families of prompts.

        The values are by group and training seed; their error enters each likeness from both
        sides.
        """
        compared = self.compare_runs(measured.values)
        if compared is None:
            few = "fewer than three seeds that both kinds have"
            return judgement([build.undecidable(few, unit=measured.unit)], self.region)
        limits = pairs.pair_limits(compared.across, compared.within)
        made = self._estimate(limits, compared, measured.error, measured.unit)
        return judgement([made], self.region)

    def per_family(self, values: Mapping[str, object], error: float = 0.0) -> PerFamily:
        """Return what each seed contributes."""
        compared = self.compare_runs(values)
        if compared is None:
            return PerFamily((), np.empty(0), 0)
        means = pairs.by_run(compared.across[0], compared.within[0])
        return PerFamily(tuple(f"seed {s}" for s in compared.seeds), means, len(means), 2 * error)

    def rests_on(
        self, values: Mapping[str, object] | tuple[_Copies, ...]
    ) -> dict[str, xr.DataArray]:
        """Likeness of all pairs of models: whole (family -1) and with each family left out."""
        import xarray as xr

        compared = self.compare_runs(_together(values) if isinstance(values, tuple) else values)
        if compared is None:
            return {}
        dims = ("left_out", "first", "second")
        coords = {
            "left_out": np.arange(-1, compared.families), "first": list(compared.seeds),
            "second": list(compared.seeds),
        }  # fmt: skip
        return {
            "likeness across": xr.DataArray(compared.across, coords, dims),
            "likeness within": xr.DataArray(compared.within, coords, dims),
        }

    def judge_from(
        self, rests: Mapping[str, xr.DataArray], error: float, unit: str
    ) -> Judgement | None:
        """Decide again from the likeness of all pairs of models."""
        if not {"likeness across", "likeness within"} <= rests.keys():
            return None
        across, within = (rests[f"likeness {side}"] for side in ("across", "within"))
        seeds = tuple(int(seed) for seed in across["first"].values)
        compared = ComparedRuns(seeds, across.sizes["left_out"] - 1, across.values, within.values)
        limits = pairs.pair_limits(compared.across, compared.within)
        return judgement([self._estimate(limits, compared, error / 2, unit)], self.region)

    def reduce_member(self, values: xr.DataArray | float, error: float = 0.0) -> PerFamily:
        """Family means of what the body returned on one model, further dims averaged."""
        return reduce_prompts(values, error, anything=True)

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the difference against that between the copies of the control, taken in pairs."""
        model, copies = (
            self.compare_runs(measured.values),
            self.compare_runs(_together(control.values)),
        )
        if model is None or copies is None:
            return unread(control, "too few copies to pair")
        error, unit = measured.error, measured.unit
        of_copies = pairs.pair_limits(copies.across, copies.within)
        estimate = replace(self._estimate(of_copies, copies, error, unit), part=OF_CONTROL)
        between = _difference(pairs.pair_limits(model.across, model.within), of_copies)
        contrast = self._estimate(between, model, 2 * error, unit)
        return read_against(
            control, estimate, replace(contrast, part=OF_CONTRAST, p=None), self.region
        )

    def _estimate(
        self, limits: core.Limits, compared: ComparedRuns, error: float, unit: str
    ) -> Estimate:
        reason = build.not_finite(np.array([*compared.across.flat, *compared.within.flat]))
        if reason:
            return build.undecidable(reason, unit=unit)
        made = build.from_limits(
            limits, n=compared.pairs, clusters=compared.families, error=2 * error, level=0.95,
            unit=unit, method=JACKKNIFE, region=self.region,
        )  # fmt: skip
        return replace(made, seeds=len(compared.seeds))

    def compare_runs(self, values: Mapping[str, object]) -> ComparedRuns | None:
        """Likeness of all pairs of models, whole and with each family left out."""
        assert self.kernel is not None  # noqa: S101  (the vocabulary's word demands it)
        first, second = (_by_seed(values, name) for name in self.names)
        seeds = tuple(s for s in first if s in second)
        if len(seeds) < 3:
            return None
        models = [*(first[s] for s in seeds), *(second[s] for s in seeds)]
        count = min(self.kernel.families(model) for model in models)
        likeness = self._likeness(models, count)
        of_first, other = slice(None, len(seeds)), slice(len(seeds), None)
        return ComparedRuns(seeds, count, likeness[:, of_first, other], likeness[:, other, other])

    def _likeness(self, models: Sequence[xr.DataArray], families: int) -> Floats:
        """Return the likeness of all pairs of models, (1 + family, model, model)."""
        assert self.kernel is not None  # noqa: S101
        if self.kernel.of_all is not None:
            return self.kernel.of_all(models)
        numbers = []
        for left_out in (None, *range(families)):
            vectors = np.array([self.kernel.features(model, left_out) for model in models])
            numbers.append(vectors @ vectors.T)
        return np.array(numbers)


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Likeness of all pairs of models of the seeds that both kinds have."""

    seeds: tuple[int, ...]
    families: int
    across: Floats
    """(1 + family, seed of the first, seed of the second)."""
    within: Floats
    """(1 + family, seed of the second, seed of the second)."""

    @property
    def pairs(self) -> int:
        """Pairs of models of different kinds."""
        return len(self.seeds) * (len(self.seeds) - 1)


def _by_seed(values: Mapping[str, object], name: str) -> dict[int, xr.DataArray]:
    members = values.get(name, {})
    return dict(members) if isinstance(members, Mapping) else {}


def _together(controls: Sequence[_Copies]) -> dict[str, dict[int, xr.DataArray]]:
    """Bring the copies of a control, one after the other, into the form of training seeds."""
    members: dict[str, dict[int, xr.DataArray]] = {}
    for copy in controls:
        for name, by_place in copy.items():
            members.setdefault(name, {}).update(by_place)
    return members


def _difference(model: core.Limits, control: core.Limits) -> core.Limits:
    """Interval of a difference of two independent values (Welch)."""
    value = model.value - control.value
    variance = model.se**2 + control.se**2
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.asarray(variance**2 / (model.se**4 / model.df + control.se**4 / control.df))
    se = np.sqrt(variance)
    half = core.t_quantile(0.95, df) * se
    third = model.skew * model.se**3 - control.skew * control.se**3
    return core.Limits(value, se, df, value - half, value + half, core.standardized(third, se))
