"""Values that agree, and values of few kinds: what the families drawn cannot have shown.

Where every family gave the same value t has no width, yet a value that one family in ten has is
missed by eight families in 43 of 100 draws. Clopper and Pearson's limit says how many can have
another value; how far that moves the mean depends on what the values can be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Estimate, Region
from refutable.stats import build
from refutable.stats.core import Floats


def unseen(units: int, *, level: float = 0.95) -> float:
    """Largest share of units with another value when none of `units` had one."""
    return float(1 - ((1 - level) / 2) ** (1 / units)) if units else 1.0


def whole(values: ArrayLike) -> bool:
    """Whether all values are whole numbers, as hits, counts and ranks are."""
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        return True
    return bool(np.isfinite(array).all() and (array == np.round(array)).all())


def binary(values: ArrayLike) -> bool:
    """Whether values are hits and misses: 0 and 1, of which both occur unless the type says so."""
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return True
    return whole(array) and set(np.unique(array).tolist()) == {0, 1}


def agreement(
    values: ArrayLike,
    *,
    units: int,
    n: int,
    error: float,
    level: float = 0.95,
    unit: str = "",
    region: Region | None = None,
    reach: float | None = None,
) -> Estimate:
    """Interval for a mean on which all units agree.

    The share of units that can have another value (`unseen`) times how far such a value may lie:
    one for hits and counts, or the size of the value where that is more; for a quantity that is no
    whole number its size, as if it were absent, or twice as large, in the families not seen.

    Parameters
    ----------
    values : array
        What was observed; all alike to within `error`.
    units : int
        Families (or seeds, where these are fewer) that agree.
    n : int
        Prompts.
    error : float
        The instrument's error.
    level, unit, region
        As for `refutable.stats.estimate.family_mean`.
    reach : float, optional
        How far another value may lie, where it is known.
    """
    array = np.asarray(values, dtype=float)
    value = float(array.mean())
    widest = max(error, float(np.abs(array - value).max()))
    if reach is None:
        reach = max(abs(value), 1.0 if whole(values) else 0.0)
    half = widest + unseen(units, level=level) * reach
    p = None
    if region is not None:
        bounds = build.limiting_bounds(value, region)
        p = max((_smallest(abs(value - b) - widest, reach, units) for b in bounds), default=1.0)
    return Estimate(
        value, value - half, value + half, level=level, unit=unit, method=build.AGREED, n=n,
        clusters=units, sd=0.0, error=error, p=p,
    )  # fmt: skip


def _smallest(distance: float, reach: float, units: int) -> float:
    """Smallest two-sided level at which the interval stays within a distance."""
    if distance <= 0:
        return 1.0
    ratio = min(distance / reach, 1.0) if reach > 0 else 1.0
    return float(min(1.0, 2 * (1 - ratio) ** units))


def spread(values: Floats) -> float:
    """Standard deviation; 0 of a single value."""
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
