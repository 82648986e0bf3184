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

DRAWS = 2000
"""Resamples of the studentized family bootstrap."""


class Limits(NamedTuple):
    """Interval of each study: value, standard error, degrees of freedom and both ends."""

    value: Floats
    se: Floats
    df: Floats
    low: Floats
    high: Floats


def t_quantile(level: float, df: Floats | float) -> Floats:
    """Half-width of a two-sided t interval in standard errors (infinite without df)."""
    from scipy import stats

    free = np.asarray(df, dtype=float)
    safe = np.where(free > 0, free, 1.0)
    return np.where(free > 0, stats.t.ppf(0.5 + level / 2, safe), np.inf)


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
    return Limits(value, se, df, value - half, value + half)


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
    return Limits(value, se, df, value - half, value + half)


def two_way_limits(table: Floats, *, level: float = 0.95) -> Limits:
    """Interval for the mean of a table whose rows (seeds) and columns (families) are both random.

    Variance of the mean = seed + family - residual mean square, at least the larger of the first
    two; Satterthwaite degrees of freedom.

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
    se = np.sqrt(variance)
    if min(s, f) < 2:
        se, df = np.full_like(value, np.inf), np.zeros_like(value)
    half = t_quantile(level, df) * se
    return Limits(value, se, df, value - half, value + half)


def resampling_weights(units: int, *, seed: int, draws: int = DRAWS) -> Floats:
    """How often each unit enters each resample, (draw, unit); the same for the same seed.

    Resamples that hold one unit alone have no spread and are drawn again.
    """
    rng = np.random.default_rng([seed, units])
    weights = np.empty((0, units))
    while weights.shape[0] < draws:
        more = rng.multinomial(units, np.full(units, 1.0 / units), size=draws).astype(float)
        weights = np.concatenate([weights, more[more.max(axis=1) < units]])
    return weights[:draws]


def bootstrap_limits(
    units: Floats, weights: Floats, *, level: float = 0.95, block: int = 500
) -> tuple[Floats, Floats]:
    """Studentized bootstrap interval for the mean over the last axis.

    Parameters
    ----------
    units : array, (..., unit)
        Family means.
    weights : array, (draw, unit)
        From `resampling_weights`.
    level : float
        Level of the two-sided interval.
    block : int
        Studies handled at a time, which bounds memory.
    """
    units = np.asarray(units, dtype=float)
    flat = units.reshape(-1, units.shape[-1])
    ends = [
        _studentized(flat[start : start + block], weights, level)
        for start in range(0, len(flat), block)
    ]
    low = np.concatenate([e[0] for e in ends]).reshape(units.shape[:-1])
    high = np.concatenate([e[1] for e in ends]).reshape(units.shape[:-1])
    return low, high


def two_way_bootstrap(
    table: Floats, weights: tuple[Floats, Floats], *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Check beside `two_way_limits` that sees skew: studentized bootstraps of rows and columns.

    Each end lies as far from the mean as the two one-way ends taken together (root of the sum of
    squares).

    Parameters
    ----------
    table : array, (..., seed, family)
        One value for each seed and family.
    weights : tuple of array
        From `resampling_weights`, for seeds and for families.
    level : float
        Level of the two-sided interval.
    """
    table = np.asarray(table, dtype=float)
    value = table.mean(axis=(-2, -1))
    rows = bootstrap_limits(table.mean(axis=-1), weights[0], level=level)
    columns = bootstrap_limits(table.mean(axis=-2), weights[1], level=level)
    low, high = (np.hypot(a - value, b - value) for a, b in zip(rows, columns, strict=True))
    return value - low, value + high


def _studentized(units: Floats, weights: Floats, level: float) -> tuple[Floats, Floats]:
    n = units.shape[-1]
    value = units.mean(axis=-1)
    se = units.std(axis=-1, ddof=1) / np.sqrt(n)
    shift, error = _resampled(units - value[:, None], weights)
    lower, upper = _ratio_quantiles(shift, error, level)
    return value - upper * se, value - lower * se


def bootstrap_difference(
    first: Floats, second: Floats, weights: tuple[Floats, Floats], *, level: float = 0.95
) -> tuple[float, float]:
    """Studentized bootstrap interval for mean(second) - mean(first); groups resampled apart."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    value = second.mean() - first.mean()
    se = np.sqrt(first.var(ddof=1) / first.size + second.var(ddof=1) / second.size)
    shift1, error1 = _resampled((first - first.mean())[None], weights[0])
    shift2, error2 = _resampled((second - second.mean())[None], weights[1])
    lower, upper = _ratio_quantiles(shift2 - shift1, np.hypot(error1, error2), level)
    return float(value - upper[0] * se), float(value - lower[0] * se)


def _resampled(centred: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and standard error of each resample of centred units, (study, draw)."""
    n = centred.shape[-1]
    mean = centred @ weights.T / n
    variance = (centred**2 @ weights.T / n - mean**2) / (n - 1)
    return mean, np.sqrt(np.maximum(variance, 0.0))


def _ratio_quantiles(shift: Floats, error: Floats, level: float) -> tuple[Floats, Floats]:
    tiny = 1e-12 * np.abs(shift).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(error > tiny, shift / error, np.sign(shift) * 1e6)
    ratio = np.where(np.abs(shift) <= tiny, 0.0, ratio)
    tail = (1 - level) / 2
    lower, upper = np.quantile(ratio, [tail, 1 - tail], axis=-1)
    return lower, upper


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


def smallest_level(distance: Floats, se: Floats, df: Floats) -> Floats:
    """Smallest two-sided level whose interval stays within `distance` of the value."""
    from scipy import stats

    distance, se, df = (np.asarray(a, dtype=float) for a in (distance, se, df))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(se > 0, distance / se, np.inf)
    p = 2 * stats.t.sf(ratio, np.maximum(df, 1e-9))
    usable = (distance > 0) & (df > 0) & np.isfinite(se)
    return np.where(usable, np.minimum(p, 1.0), 1.0)
