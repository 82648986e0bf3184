"""Values that agree, and values of few kinds: what the families drawn cannot have shown.

Where every family gave the same value t has no width, yet a value that one family in ten has is
missed by eight families in 43 of 100 draws. Clopper and Pearson's limit says how many can have
another value; how far that moves the mean depends on what the values can be. Where a few families
differ from the rest, t knows how far they lie, but hardly how many there are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

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


FEWEST_OTHERS = 5
"""Families that must differ from the common value before their spread says how far others lie."""
FURTHER = 3.0
"""How far others may lie, as a multiple of the only one seen; of several, of the farthest of them
divided by their number (never less than the farthest itself)."""


class Tied(NamedTuple):
    """Most units give one value, and fewer than `FEWEST_OTHERS` another."""

    value: float
    """What most of them give."""
    others: int
    """Units that give another value."""
    units: int
    reach: float
    """How far from the common value others may lie that were not drawn."""

    def ends(self, level: float) -> tuple[float, float]:
        """Ends between which the mean lies: Clopper and Pearson's limit of the share of others."""
        from scipy import stats

        tail = (1 - level) / 2
        most = float(stats.beta.isf(tail, self.others + 1, self.units - self.others))
        return self.value - most * self.reach, self.value + most * self.reach

    def guard_p(self, bound: float, error: float, guard: float) -> float:
        """P of a bound on the scale on which 0.05 is where a guard of a level decides."""
        from scipy import stats

        share = min(max(abs(bound - self.value) - error, 0.0) / self.reach, 1.0)
        tail = float(stats.binom.cdf(self.others, self.units, share))
        return float(tail ** (np.log(0.05) / np.log((1 - guard) / 2)))


def mostly_tied(units: ArrayLike) -> Tied | None:
    """Find the value that two thirds of the units share, where fewer than five differ from it.

    Eight families of which seven give 0 hold one in ten that lies far off, or one in two: t takes
    the spread of these eight for that of all, and where values are 0 but for one in five or ten
    it errs in 6 to 7 % of studies (besides those in which all agree).

    Parameters
    ----------
    units : array, (unit,)
        One value for each family or seed; those that differ by float32's rounding are alike.

    Returns
    -------
    Tied or None
        ``None`` where t knows enough, and where all agree (see `agreement`).
    """
    values = np.sort(np.asarray(units, dtype=float))
    rounding = 1e-6 * float(np.abs(values).max(initial=0.0))
    alike = np.searchsorted(values, values + rounding, side="right") - np.arange(values.size)
    start = int(alike.argmax())
    others = values.size - int(alike[start])
    if not 0 < others < FEWEST_OTHERS or 3 * others > values.size:
        return None
    value = float(np.median(values[start : start + int(alike[start])]))
    farthest = float(np.abs(values - value).max())
    reach = max(FURTHER / others, 1.0) * farthest
    reach = max(reach, 1.0 if whole(units) else 0.0)
    return Tied(value, others, values.size, reach)


def tied_guard(
    estimate: Estimate, units: ArrayLike, *, region: Region | None, guard: float
) -> Estimate:
    """Widen the guard of a mean whose units are `mostly_tied`; others stay as they are.

    Parameters
    ----------
    estimate : Estimate
        By t, with its guard and p.
    units : array, (unit,)
        What it is the mean of.
    region : Region, optional
        The predicted region, for p.
    guard : float
        Two-sided level of the guard.
    """
    tied = mostly_tied(units)
    if tied is None or estimate.value is None:
        return estimate
    low, high = tied.ends(guard)
    lows = [low - estimate.error, *(e for e in (estimate.check_low,) if e is not None)]
    highs = [high + estimate.error, *(e for e in (estimate.check_high,) if e is not None)]
    p = estimate.p
    if region is not None and p is not None:
        bounds = build.limiting_bounds(estimate.value, region)
        p = max([p, *(tied.guard_p(bound, estimate.error, guard) for bound in bounds)])
    return replace(estimate, check_low=min(lows), check_high=max(highs), p=p)


def _smallest(distance: float, reach: float, units: int) -> float:
    """Smallest two-sided level at which the interval stays within a distance."""
    if distance <= 0:
        return 1.0
    ratio = min(distance / reach, 1.0) if reach > 0 else 1.0
    return float(min(1.0, 2 * (1 - ratio) ** units))


def spread(values: Floats) -> float:
    """Standard deviation; 0 of a single value."""
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
