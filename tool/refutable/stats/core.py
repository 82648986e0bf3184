"""Intervals as plain arithmetic on arrays; the first axes may run over many studies at once.

The product calls these with one study, the tests in ``tool/tests/quality`` with thousands, so
that what is tested is what decides. Nothing here knows a region or a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Guard(NamedTuple):
    """How wide the interval is that a verdict needs beside the 95 % interval that is shown."""

    level: float
    """Two-sided level of its t quantile."""
    least: float = 0.0
    """Fewest standard errors between the value and an end, before it is bent."""


GUARD = Guard(0.995, 4.1)
"""Of means and differences of means.

p below 0.005 (Benjamin et al., "Redefine statistical significance", Nature Human Behaviour 2018).
It is what keeps false verdicts at 5 % a side where one family in twenty lies eight sd apart and no
such family was drawn: such a sample looks normal, so only a level can guard against it. What the
families not drawn move the mean by grows, in standard errors, with the root of their number, while
the t quantile falls: from eight units on the guard is 4.1 standard errors. With it one family in
twenty at twelve sd, and one in ten at eight, err in at most 5 % of studies of any size (with the
quantile alone in 11 %). No rule holds that for any distance and still decides: 46 % of samples of
15 families have none.
"""


class Limits(NamedTuple):
    """Interval of each study: value, standard error, degrees of freedom and both ends."""

    value: Floats
    se: Floats
    df: Floats
    low: Floats
    high: Floats
    skew: Floats = np.zeros(())
    """Estimated skewness of the value's sampling distribution."""
    guard_df: Floats | None = None
    """Degrees of freedom of the guard, where they are fewer."""

    @property
    def guarded(self) -> Floats:
        """Degrees of freedom of the guard."""
        return self.df if self.guard_df is None else self.guard_df


def t_quantile(level: float, df: Floats | float) -> Floats:
    """Half-width of a two-sided t interval in standard errors (infinite without df)."""
    # What scipy.stats.t calls; scipy.stats itself takes half a second to import.
    from scipy.special import stdtrit

    free = np.asarray(df, dtype=float)
    safe = np.where(free > 0, free, 1.0)
    return np.where(free > 0, stdtrit(safe, 0.5 + level / 2), np.inf)


def group_means(values: Floats, labels: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """Mean of each family, every family weighing the same whatever its size.

    Parameters
    ----------
    values : array, (..., prompt)
        One value per prompt.
    labels : sequence of str, (prompt,)
        Family of each prompt.

    Returns
    -------
    means : array, (..., family)
    names : tuple of str
        Families in the order of their first prompt.
    """
    names = tuple(dict.fromkeys(str(label) for label in labels))
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[str(label)] for label in labels], dtype=np.intp)
    member = np.zeros((len(labels), len(names)))
    member[np.arange(len(labels)), index] = 1.0
    return np.asarray(values, dtype=float) @ (member / member.sum(axis=0)), names


def t_limits(units: Floats, *, level: float = 0.95) -> Limits:
    """Make the t interval for the mean over the last axis (units, e.g. family means)."""
    units = np.asarray(units, dtype=float)
    n = units.shape[-1]
    value = units.mean(axis=-1)
    df = np.full(value.shape, float(n - 1))
    se = units.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.full(value.shape, np.inf)
    half = t_quantile(level, df) * se
    skew = standardized(third_moment(units) / n**2, se)
    return Limits(value, se, df, value - half, value + half, skew)


def welch_limits(first: Floats, second: Floats, *, level: float = 0.95) -> Limits:
    """Welch interval for mean(second) - mean(first), units on the last axes."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    n1, n2 = first.shape[-1], second.shape[-1]
    v1 = first.var(axis=-1, ddof=1) / n1 if n1 > 1 else np.full(first.shape[:-1], np.inf)
    v2 = second.var(axis=-1, ddof=1) / n2 if n2 > 1 else np.full(second.shape[:-1], np.inf)
    value = second.mean(axis=-1) - first.mean(axis=-1)
    total = v1 + v2
    with np.errstate(invalid="ignore", divide="ignore"):
        df = total**2 / (v1**2 / max(n1 - 1, 1) + v2**2 / max(n2 - 1, 1))
    df = np.where(np.isfinite(df), df, float(n1 + n2 - 2))
    se = np.sqrt(total)
    half = t_quantile(level, df) * se
    skew = standardized(third_moment(second) / n2**2 - third_moment(first) / n1**2, se)
    return Limits(value, se, df, value - half, value + half, skew)


def two_way_limits(table: Floats, *, level: float = 0.95) -> Limits:
    """Interval for the mean of a table whose rows (seeds) and columns (families) are both random.

    Variance of the mean = seed + family - residual mean square, at least the larger of the first
    two; Satterthwaite degrees of freedom. Few seeds that chance to lie close together leave these
    too many, so those of the guard are at most the mean of both ways', harmonic and weighted by
    their variances: with it five lognormal seeds err in 4.6 % instead of 5.6.

    Parameters
    ----------
    table : array, (..., seed, family)
        One value for each seed and family.
    level : float
        Level of the two-sided interval.
    """
    table = np.asarray(table, dtype=float)
    s, f = table.shape[-2:]
    value = table.mean(axis=(-2, -1))
    rows = table.mean(axis=-1) - value[..., None]
    columns = table.mean(axis=-2) - value[..., None]
    rest = table - value[..., None, None] - rows[..., :, None] - columns[..., None, :]
    seed = (rows**2).sum(axis=-1) / max(s - 1, 1) / s
    family = (columns**2).sum(axis=-1) / max(f - 1, 1) / f
    cells = max((s - 1) * (f - 1), 1)
    residual = (rest**2).sum(axis=(-2, -1)) / cells / (s * f)
    larger = np.maximum(seed, family)
    variance = np.maximum(seed + family - residual, larger)
    spread = seed**2 / max(s - 1, 1) + family**2 / max(f - 1, 1) + residual**2 / cells
    alone = np.where(seed >= family, float(s - 1), float(f - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(variance > larger, variance**2 / spread, alone)
        parts = seed / max(s - 1, 1) + family / max(f - 1, 1)
        fewer = np.fmin(df, (seed + family) / parts)
    se = np.sqrt(variance)
    if min(s, f) < 2:
        se, df, fewer = np.full_like(value, np.inf), *np.zeros((2, *value.shape))
    half = t_quantile(level, df) * se
    third = third_moment(table.mean(axis=-1)) / s**2 + third_moment(table.mean(axis=-2)) / f**2
    return Limits(value, se, df, value - half, value + half, standardized(third, se), fewer)


def guard_ends(limits: Limits, *, guard: Guard = GUARD) -> tuple[Floats, Floats]:
    """Ends of the interval that a verdict needs: a higher level, and bent where the data are skew.

    The end on the side of the longer tail lies further off by skew / 6 (2 t^2 + 1) standard
    errors, the second-order term of the t statistic's distribution (Johnson, "Modified t tests and
    confidence intervals for asymmetrical populations", JASA 1978; Hall, JRSS B 1992). The other
    end is not drawn in, so that the interval always holds the plain one.

    Parameters
    ----------
    limits : Limits
        Of one or more studies, with the skewness of their values.
    guard : Guard
        Its level and its least width.
    """
    t = np.maximum(t_quantile(guard.level, limits.guarded), guard.least)
    with np.errstate(invalid="ignore"):
        bend = np.nan_to_num(limits.skew / 6 * (2 * t**2 + 1))
        low = limits.value - (t + np.maximum(-bend, 0.0)) * limits.se
        high = limits.value + (t + np.maximum(bend, 0.0)) * limits.se
    return low, high


def third_moment(units: Floats) -> Floats:
    """Unbiased third central moment over the last axis; 0 for fewer than three units."""
    n = units.shape[-1]
    if n < 3:
        return np.zeros(units.shape[:-1])
    centred = units - units.mean(axis=-1, keepdims=True)
    return np.asarray(n * (centred**3).sum(axis=-1) / ((n - 1) * (n - 2)))


def standardized(third: Floats, se: Floats) -> Floats:
    """Skewness from a third cumulant and a standard error; 0 where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(np.isfinite(se) & (se > 0), third / se**3, 0.0))


_LIMIT = 1 - 1e-9


def fisher(r: ArrayLike) -> Floats:
    """Fisher z, kept finite at correlations of exactly 1 and -1."""
    return np.asarray(np.arctanh(np.clip(np.asarray(r, dtype=float), -_LIMIT, _LIMIT)))


def fisher_back(z: ArrayLike) -> Floats:
    """Correlation from Fisher z."""
    return np.asarray(np.tanh(np.asarray(z, dtype=float)))


def pearson(x: Floats, y: Floats) -> Floats:
    """Correlation over the last axis; NaN where a variable varies by no more than rounding."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    a = x - x.mean(axis=-1, keepdims=True)
    b = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.asarray(np.where(_varies(x) & _varies(y), r, np.nan))


def _varies(values: Floats) -> NDArray[np.bool_]:
    """Whether values differ by more than the rounding of their mean, over the last axis."""
    largest = np.abs(values).max(axis=-1)
    return np.asarray(np.ptp(values, axis=-1) > 4 * np.finfo(float).eps * largest)


def slopes(values: Floats) -> Floats:
    """Least-squares slope over the last axis against 0, 1, 2, ...; NaN of a single point."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    x = np.arange(values.shape[-1], dtype=float)
    x -= x.mean()
    return np.asarray(values, dtype=float) @ (x / (x @ x))


def slope_error(steps: int, error: float) -> float:
    """Largest change of a slope over `steps` points when each point moves by at most `error`."""
    if steps < 2:
        return np.inf
    x = np.arange(steps, dtype=float)
    x -= x.mean()
    return float(error * np.abs(x).sum() / (x @ x))


def smallest_level(limits: Limits, distance: Floats, *, guard: Guard = GUARD) -> Floats:
    """p: how surely the value lies beyond a bound, on a scale on which 0.05 is where it decides.

    The one-sided p of the bent t statistic (see `guard_ends`), raised to the power that takes half
    of 1 - level to 0.05: for a guard of 0.995 its square root. Where the guard is wider than its t
    quantile, t is reduced by the difference. It is never below the two-sided p of the plain t test,
    and holds its level over many claims where the plain one does not.

    Parameters
    ----------
    limits : Limits
        Of one or more studies.
    distance : array
        Of the bound from the value: negative for a bound below it.
    guard : Guard
        Its level and its least width.
    """
    from scipy.special import stdtr

    distance = np.asarray(distance, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(limits.se > 0, np.abs(distance) / limits.se, np.inf)
        bend = np.maximum(np.sign(distance) * limits.skew, 0.0) / 3
        # t + bend t^2 + bend / 2 = ratio, solved for t.
        root = np.sqrt(np.maximum(1 + 4 * bend * (ratio - bend / 2), 0.0))
        t = np.where(bend > 1e-9, (root - 1) / (2 * np.maximum(bend, 1e-9)), ratio)
        df = limits.guarded
        t = t - np.maximum(guard.least - t_quantile(guard.level, df), 0.0)
        one_sided = stdtr(np.maximum(df, 1e-9), -np.where(np.isfinite(ratio), t, ratio))
    usable = (distance != 0) & (df > 0) & np.isfinite(limits.se)
    p = one_sided ** (np.log(0.05) / np.log((1 - guard.level) / 2))
    return np.asarray(np.where(usable, np.minimum(p, 1.0), 1.0))
