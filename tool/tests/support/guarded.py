"""The guard of an interval and its p, written a second time with scipy and a root finder."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats


def third(units: np.ndarray) -> float:
    """Third cumulant of a mean."""
    return float(stats.kstat(units, 3)) / len(units) ** 2


def reach(tail: float, df: float, skew: float) -> float:
    """Standard errors to the end on the side of positive skew, for the tail beyond it."""
    t = float(stats.t.isf(tail, df))
    return t + max(skew, 0.0) * (2 * t**2 + 1) / 6


def guard(value: float, se: float, df: float, cumulant: float, level: float = 0.995):
    """Both ends of the guard."""
    tail, skew = (1 - level) / 2, cumulant / se**3
    return value - reach(tail, df, -skew) * se, value + reach(tail, df, skew) * se


def p_of(distance: float, se: float, df: float, cumulant: float, level: float = 0.995) -> float:
    """p of a bound at a signed distance from the value."""
    skew = np.sign(distance) * cumulant / se**3
    ratio = abs(distance) / se
    if reach(0.5, df, skew) >= ratio:
        one_sided = float(stats.t.sf(ratio - max(skew, 0.0) / 6, df))
    else:
        one_sided = float(
            optimize.brentq(lambda tail: reach(tail, df, skew) - ratio, 1e-100, 0.5, rtol=1e-14)
        )
    return min(1.0, one_sided ** (np.log(0.05) / np.log((1 - level) / 2)))


def of_mean(units: np.ndarray, bound: float) -> float:
    """p of a bound for the mean of units."""
    units = np.asarray(units, dtype=float)
    se = units.std(ddof=1) / np.sqrt(len(units))
    return p_of(bound - units.mean(), se, len(units) - 1, third(units))
