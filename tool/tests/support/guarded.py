"""The guard of an interval and its p, written a second time with scipy and a root finder."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats


def third(units: np.ndarray) -> float:
    """Third cumulant of a mean."""
    return float(stats.kstat(units, 3)) / len(units) ** 2


LEAST = 4.1
"""Fewest standard errors of a guard before it is bent."""


def reach(tail: float, df: float, skew: float, least: float = 0.0) -> float:
    """Standard errors to the end on the side of positive skew, for the tail beyond it."""
    t = max(float(stats.t.isf(tail, df)), least)
    return t + max(skew, 0.0) * (2 * t**2 + 1) / 6


def guard(value: float, se: float, df: float, cumulant: float, level: float = 0.995):
    """Both ends of the guard."""
    tail, skew = (1 - level) / 2, cumulant / se**3
    low, high = (reach(tail, df, side * skew, LEAST) for side in (-1, 1))
    return value - low * se, value + high * se


def p_of(
    distance: float, se: float, df: float, cumulant: float, level: float = 0.995,
    least: float = LEAST,
) -> float:  # fmt: skip
    """p of a bound at a signed distance from the value."""
    skew = np.sign(distance) * cumulant / se**3
    ratio = abs(distance) / se
    if reach(0.5, df, skew) >= ratio:
        t = ratio - max(skew, 0.0) / 6
    else:
        tail = optimize.brentq(lambda q: reach(q, df, skew) - ratio, 1e-100, 0.5, rtol=1e-14)
        t = float(stats.t.isf(tail, df))
    one_sided = float(stats.t.sf(t - max(least - stats.t.isf((1 - level) / 2, df), 0.0), df))
    return min(1.0, one_sided ** (np.log(0.05) / np.log((1 - level) / 2)))


def of_mean(units: np.ndarray, bound: float) -> float:
    """p of a bound for the mean of units."""
    units = np.asarray(units, dtype=float)
    se = units.std(ddof=1) / np.sqrt(len(units))
    return p_of(bound - units.mean(), se, len(units) - 1, third(units))
