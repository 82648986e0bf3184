"""Predictions about a kind of training run: its seeds are the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.base import (
    Judgement,
    PerFamily,
    Prediction,
    fresh,
    judgement,
    reduce_prompts,
    scalar,
    worded,
)
from refutable.records import Control, Region
from refutable.stats import build, decide
from refutable.stats import estimate as est
from refutable.stats.core import Floats

T_SEEDS = "t over training seeds"


def seeds_against_copies(
    own: Floats,
    theirs: Floats,
    region: Region,
    *,
    kind: str,
    models: tuple[str, ...],
    sesoi: float | None,
    error: float,
    seed: int,
    unit: str,
) -> Control:
    """Read a control where every training seed and every copy of the control gives one number.

    Parameters
    ----------
    own, theirs : array, (training seed,) and (copy,)
        Nothing pairs a training seed with a copy, so their means are compared by Welch's interval.
    """
    names = tuple(f"copy {i}" for i in range(theirs.size))
    how: dict[str, Any] = {"seed": seed, "unit": unit}
    control = replace(est.family_mean(theirs, names, error=error, **how), part="control")
    contrast = est.difference_of_groups(
        theirs, own, n=own.size, error=error, part="model minus control", **how
    )
    found, reason = decide.reading(control, contrast, region, sesoi=sesoi)
    return Control(kind, models, control, contrast, found, reason)


@dataclass(frozen=True, slots=True)
class _OfSeeds(Prediction):
    """One number per seed of a group of models that differ in the seed alone."""

    group: str = ""
    without: tuple[int, ...] = ()
    """Training seeds that do not take part."""

    @property
    def left_out(self) -> tuple[int, ...]:
        """Training seeds that do not take part."""
        return self.without

    @property
    def names(self) -> tuple[str, ...]:
        """The group."""
        return (self.group,)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group."""
        return (self.group,)

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return True

    @property
    def title(self) -> str:
        """Short name of the models."""
        return self.group

    def per_family(self, values: Any) -> PerFamily:
        """One number per seed."""
        numbers = self._numbers(values)
        return PerFamily(
            tuple(f"seed {seed}" for seed in numbers),
            np.array(list(numbers.values()), dtype=float),
            len(numbers),
        )

    def read_control(
        self,
        values: Any,
        controls: Sequence[Any],
        *,
        kind: str,
        models: tuple[str, ...],
        sesoi: float | None,
        error: float,
        seed: int,
        unit: str,
    ) -> Control:
        """Hold the training seeds against the copies of the control, one number each."""
        own = self.per_family(values).means
        theirs = np.concatenate([self.per_family(c).means for c in controls])
        return seeds_against_copies(
            own, theirs, self.region, kind=kind, models=models, sesoi=sesoi, error=error,
            seed=seed, unit=unit,
        )  # fmt: skip

    def _numbers(self, values: Mapping[str, Any]) -> dict[int, float]:
        if self.group not in values:
            raise ClaimError(f"no values for {self.group!r}: it was not measured in this run")
        found = values[self.group]
        by_seed = found if isinstance(found, Mapping) else {0: found}
        return {seed: scalar(by_seed[seed]) for seed in sorted(by_seed)}


@dataclass(frozen=True, slots=True)
class OverSeeds(_OfSeeds):
    """The mean over training seeds, with the t interval on seeds."""

    kind: ClassVar[str] = "seeds"
    what: ClassVar[str] = "mean over training seeds"

    @property
    def says(self) -> str:
        """The prediction in words."""
        seeds = f"training seeds of {self.group}{fresh(self.without)}"
        return f"mean over the {seeds} {worded(self.region)}"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide by the t interval over seeds; fewer than five seeds decide nothing.

        Where the body returns a value for each prompt, by the two-way interval over seeds and
        families.
        """
        by_family = self._by_family(values)
        if by_family is not None:
            _, table, n = by_family
            how: dict[str, Any] = {"error": error, "seed": seed, "unit": unit}
            return judgement([est.two_way(table, n=n, region=self.region, **how)], self.region)
        reduced = self.per_family(values)
        estimate = est.family_mean(
            reduced.means, reduced.names, error=error, seed=seed, unit=unit, region=self.region
        )
        if estimate.method == build.T_FAMILIES:
            estimate = replace(estimate, method=T_SEEDS)
        return judgement([estimate], self.region)

    def per_family(self, values: Any) -> PerFamily:
        """One number per seed; of values per prompt, each family's mean over seeds."""
        by_family = self._by_family(values)
        if by_family is None:
            return _OfSeeds.per_family(self, values)
        names, table, n = by_family
        return PerFamily(names, table.mean(axis=0), n)

    def read_control(self, values: Any, controls: Sequence[Any], **how: Any) -> Control:
        """Hold the training seeds against the copies of the control, by family where there are."""
        if self._by_family(values) is None:
            return _OfSeeds.read_control(self, values, controls, **how)
        return Prediction.read_control(self, values, controls, **how)

    def _by_family(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], Floats, int] | None:
        """Families, their means (seed, family) and prompts; ``None`` for a number per seed."""
        found = values.get(self.group)
        by_seed = found if isinstance(found, Mapping) else {0: found}
        if not all("prompt" in getattr(array, "dims", ()) for array in by_seed.values()):
            return None
        reduced = [reduce_prompts(by_seed[seed]) for seed in sorted(by_seed)]
        names = tuple(n for n in reduced[0].names if all(n in r.names for r in reduced))
        table = np.array([[r.means[r.names.index(n)] for n in names] for r in reduced])
        return names, table, min(r.n for r in reduced)


@dataclass(frozen=True, slots=True)
class EachSeed(_OfSeeds):
    """A fact of every single seed: value and numerical error against the region, no sampling."""

    tolerance: float | None = None
    """Half the width of the region where the prediction is an equality."""

    kind: ClassVar[str] = "each-seed"
    what: ClassVar[str] = "value of each training seed"
    sampled: ClassVar[bool] = False

    @property
    def says(self) -> str:
        """The prediction in words."""
        if self.tolerance is None:
            return f"value of each training seed of {self.group} {worded(self.region)}"
        assert self.region.low is not None  # noqa: S101  (an equality has both ends)
        middle = self.region.low + self.tolerance
        margin = f" to within {self.tolerance:g}" if self.tolerance else " exactly"
        return f"value of each training seed of {self.group} equal to {middle:g}{margin}"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Hold every seed's number against the region; all must lie in it."""
        reduced = self.per_family(values)
        parts = [
            replace(est.exact(float(value), error, unit=unit), part=name)
            for name, value in zip(reduced.names, reduced.means, strict=True)
        ]
        if not parts:
            return judgement([build.undecidable("no seeds", unit=unit)], self.region)
        return judgement(parts, self._closed(), sampled=False)

    def _closed(self) -> Region:
        if self.tolerance is None:
            return self.region
        # The tolerance itself still counts as equal, and the region is open.
        assert self.region.low is not None  # noqa: S101
        assert self.region.high is not None  # noqa: S101
        return Region(
            float(np.nextafter(self.region.low, -np.inf)),
            float(np.nextafter(self.region.high, np.inf)),
        )
