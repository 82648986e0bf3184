"""What predictions about several models share: groups of models that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.base import (
    OF_CONTRAST,
    OF_CONTROL,
    Measured,
    NullControl,
    Prediction,
    read_against,
)
from refutable.predictions.labels import PerFamily, is_number, reduce_prompts, scalar
from refutable.records import Control, Estimate, Region
from refutable.stats import build
from refutable.stats import estimate as est
from refutable.stats.controls import numbers_contrast
from refutable.stats.core import Floats

if TYPE_CHECKING:
    import xarray as xr

T_SEEDS = "t over training seeds"


@dataclass(frozen=True, slots=True)
class GroupPrediction(Prediction):
    """A prediction about several models, or about groups of them.

    What the body returns on each is kept by name, and by training seed within a group. It is
    reduced model by model (`reduce_member`), which is also what a gate compares.
    """

    names: tuple[str, ...] = ()
    """Models or groups that it compares."""
    left_out: tuple[int, ...] = ()
    """Training seeds that do not take part."""

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return True

    @property
    def title(self) -> str:
        """Short name of the models."""
        return "~".join(self.names)

    def reduce_member(self, values: Any, error: float = 0.0) -> PerFamily:
        """Reduce what the body returned on one model: to family means, or to its one number."""
        if is_number(values):
            return PerFamily(("model",), np.array([scalar(values)]), 1, error)
        return reduce_prompts(values, error)

    def compared(self, values: xr.DataArray | float, error: float = 0.0) -> tuple[PerFamily, ...]:
        """Return what a gate pairs between two releases of one of the models."""
        return (self.reduce_member(values, error),)


def by_seed(values: Mapping[str, Any], name: str) -> dict[int | None, Any]:
    """Return what the body returned on a model (under no seed) or on the seeds of a group.

    Raises
    ------
    ClaimError
        If nothing of that name was measured.
    """
    if name not in values:
        raise ClaimError(f"no values for {name!r}: it was not measured in this run")
    members = values[name]
    return dict(members) if isinstance(members, Mapping) else {None: members}


def seed_name(seed: int | None, model: str) -> str:
    """Name a member of a group by its seed; a model that is no group has its own name."""
    return model if seed is None else f"seed {seed}"


def excluded(seeds: Sequence[int]) -> str:
    """Word which training seeds do not take part; empty where all do."""
    if not seeds:
        return ""
    return f" (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} left out)"


def seed_mean(
    numbers: PerFamily,
    measured: Measured,
    region: Region,
    error: float,
    *,
    differences: bool = False,
) -> Estimate:
    """Mean of one number per training seed, the seeds as the only units."""
    made = est.family_mean(
        numbers.means, numbers.names, error=error, unit=measured.unit, region=region,
        differences=differences,
    )  # fmt: skip
    return replace(made, method=T_SEEDS) if made.method == build.T_FAMILIES else made


def seeds_against_copies(
    model: Floats, copies: Floats, region: Region, measured: Measured, control: NullControl
) -> Control:
    """Read a control where every training seed and every copy of the control gives one number.

    Parameters
    ----------
    own, copies : array, (training seed,) and (copy,)
        Nothing pairs a training seed with a copy, so their means are compared by Welch's interval;
        a single training seed is taken to vary as the copies do.
    region : Region
        Where the claim predicts the numbers to lie.
    measured : Measured
        Gives error and unit of the numbers.
    control : NullControl
        What the copies are.
    """
    names = tuple(f"copy {i}" for i in range(copies.size))
    error, unit = measured.error, measured.unit
    estimate = replace(est.family_mean(copies, names, error=error, unit=unit), part=OF_CONTROL)
    contrast = numbers_contrast(model, copies, error=2 * error, unit=unit, part=OF_CONTRAST)
    return read_against(control, estimate, contrast, region)
