"""Estimates with intervals: arrays and family labels in, `Estimate` records out.

The unit is the prompt family. Every estimate is widened by the instrument's measured error, and
given a region it also carries p: the smallest level at which a verdict would still be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Estimate, Region
from refutable.stats import build, core, discrete
from refutable.stats.build import (
    DEFAULTS,
    Terms,
    fact,
    from_limits,
    not_finite,
    rounding,
    undecidable,
)
from refutable.stats.core import Floats, Limits


def family_mean(
    values: ArrayLike,
    families: Sequence[str],
    *,
    error: float = 0.0,
    level: float = 0.95,
    unit: str = "",
    region: Region | None = None,
    differences: bool = False,
) -> Estimate:
    """Mean over prompt families, each weighing the same, with the t interval on family means.

    The guard that a verdict needs beside it fills ``check_low`` and ``check_high``. Hits and
    misses are a `share`; where every prompt agrees the interval is that of `discrete.agreement`.

    Parameters
    ----------
    values : array, (prompt,)
        One value per prompt.
    families : sequence of str, (prompt,)
        Family of each prompt.
    error : float
        The instrument's error of one value, in units of the values.
    level : float
        Level of the two-sided interval.
    unit : str
        Unit of the values.
    region : Region, optional
        The predicted region, for p.
    differences : bool
        Whether the values are differences: 0 and 1 are then no misses and hits.

    Returns
    -------
    Estimate
        Without a value where there are none or not all are finite.
    """
    raw = np.asarray(values)
    array = raw.astype(float)
    names = {str(f) for f in families}
    reason = "no prompts" if array.size == 0 else not_finite(array)
    if reason:
        return undecidable(reason, unit=unit, n=array.size, clusters=len(names))
    if discrete.binary(raw) and not differences:
        return share(array != 0, families, level=level, unit=unit, region=region)
    means, _ = core.group_means(array, families)
    error = max(float(error), rounding(raw))
    how: dict[str, Any] = {
        "n": array.size, "error": error, "level": level, "unit": unit, "region": region,
    }  # fmt: skip
    if array.size >= 2 and discrete.spread(array) <= error:
        return discrete.agreement(raw, units=means.size, **how)
    if means.size >= 2 and discrete.spread(means) <= error:
        return discrete.agreement(means, units=means.size, reach=float(np.ptp(array)), **how)
    return unit_mean(means, **how)


def number_a_family(
    means: Floats,
    names: Sequence[str],
    *,
    n: int,
    differences: bool = False,
    **terms: Unpack[Terms],
) -> Estimate:
    """Mean of already reduced values, one a family, with the rules of `family_mean`.

    Parameters
    ----------
    means : array, (family,)
        One value for each family.
    names : sequence of str
        Names of the families.
    n : int
        Prompts behind them.
    differences : bool
        As for `family_mean`.
    **terms
        See `Terms`.
    """
    terms = {**DEFAULTS, **terms}
    made = family_mean(
        means, names, differences=differences, error=terms["error"], level=terms["level"],
        unit=terms["unit"], region=terms["region"],
    )  # fmt: skip
    return replace(made, n=n, part=terms["part"])


def unit_mean(
    means: Floats,
    *,
    n: int,
    error: float = 0.0,
    level: float = 0.95,
    unit: str = "",
    region: Region | None = None,
    method: str = build.T_FAMILIES,
    part: str = "",
) -> Estimate:
    """Make the t interval and its guard from one already reduced value per family.

    Where most families give one value and few another the guard is that of `discrete.mostly_tied`.
    """
    means = np.asarray(means, dtype=float)
    reason = "no families" if means.size == 0 else not_finite(means)
    if reason:
        return undecidable(reason, unit=unit, n=n, clusters=means.size)
    sd = float(means.std(ddof=1)) if means.size > 1 else None
    made = from_limits(
        core.t_limits(means, level=level), n=n, clusters=means.size, sd=sd, error=error,
        level=level, unit=unit, method=method, region=region, part=part,
    )  # fmt: skip
    return discrete.tied_guard(made, means, region=region, guard=core.GUARD.level)


def difference_of_groups(
    first: Floats,
    second: Floats,
    *,
    n: int,
    **terms: Unpack[Terms],
) -> Estimate:
    """Welch interval for mean(second) - mean(first) over the family means of two groups."""
    terms = {**DEFAULTS, **terms}
    error, level, unit = terms["error"], terms["level"], terms["unit"]
    clusters = min(first.size, second.size)
    reason = not_finite(np.concatenate([first, second]))
    if reason or clusters < 2:
        return undecidable(
            reason or f"{terms['part']}: a group has fewer than two families", unit=unit, n=n
        )
    sd = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2))
    if sd <= error:
        both = np.concatenate([first, second])
        made = discrete.agreement(
            np.array([second.mean() - first.mean()]), units=clusters, n=n, error=2 * error,
            level=level, unit=unit, region=terms["region"],
            reach=max(float(np.abs(both).max()), 1.0 if discrete.whole(both) else 0.0),
        )  # fmt: skip
        return replace(made, part=terms["part"])
    terms["error"] = 2 * error
    return from_limits(
        core.welch_limits(first, second, level=level), n=n, clusters=clusters, sd=sd,
        method=build.WELCH, **terms,
    )  # fmt: skip


def two_way(
    table: ArrayLike,
    *,
    n: int = 0,
    **terms: Unpack[Terms],
) -> Estimate:
    """Mean of a (seed, family) table with seeds and families both as random units.

    Parameters
    ----------
    table : array, (seed, family)
        One value (a family mean, or a paired difference of them) per seed and family.
    n : int
        Prompts behind each row.
    **terms
        See `Terms`; the error is that of one entry.
    """
    terms = {**DEFAULTS, **terms}
    raw = np.asarray(table)
    array = raw.astype(float)
    seeds, families = array.shape
    reason = "no seeds or no families" if array.size == 0 else not_finite(array)
    if reason:
        return undecidable(reason, unit=terms["unit"], n=n, clusters=families)
    error, level = max(float(terms["error"]), rounding(raw)), terms["level"]
    if array.size >= 2 and discrete.spread(array) <= error:
        made = discrete.agreement(
            raw, units=min(seeds, families), n=n, error=error, level=level, unit=terms["unit"],
            region=terms["region"],
        )  # fmt: skip
        return replace(made, seeds=seeds, clusters=families, part=terms["part"])
    terms["error"] = error
    made = from_limits(
        core.two_way_limits(array, level=level), n=n, clusters=families, method=build.TWO_WAY,
        sd=float(array.mean(axis=1).std(ddof=1)) if seeds > 1 else None, **terms,
    )  # fmt: skip
    return replace(made, seeds=seeds)


def share(
    hits: ArrayLike,
    families: Sequence[str],
    *,
    level: float = 0.95,
    unit: str = "share",
    region: Region | None = None,
) -> Estimate:
    """Share of prompts for which something holds, every family weighing the same.

    A family counts as one draw whatever its size, and the limits are Clopper and Pearson's with
    the sum of family shares as the number of successes: right when the prompts of a family always
    agree, wider than needed otherwise, and sound at shares of 0 and 1, where t is not.

    Parameters
    ----------
    hits : array of bool, (prompt,)
        Whether it holds for each prompt.
    families : sequence of str, (prompt,)
        Family of each prompt.
    level, unit, region
        As for `family_mean`.
    """
    # Quantiles and tails of the beta distribution; scipy.stats takes half a second to import.
    from scipy.special import betainc, betaincc, betainccinv, betaincinv

    array = np.asarray(hits, dtype=float)
    if array.size == 0:
        return undecidable("no prompts", unit=unit)
    means, _ = core.group_means(array, families)
    count, total = float(means.sum()), means.size
    miss = total - count

    def lower(tail: float) -> float:
        return float(betaincinv(count, miss + 1, tail)) if count > 0 else 0.0

    def upper(tail: float) -> float:
        return float(betainccinv(count + 1, miss, tail)) if miss > 0 else 1.0

    def tail_at(bound: float) -> float:
        if count / total > bound:
            return float(betainc(count, miss + 1, bound))
        if count / total < bound:
            return float(betaincc(count + 1, miss, bound))
        return 0.5

    tail = (1 - level) / 2
    p = None
    if region is not None:
        bounds = build.limiting_bounds(count / total, region)
        p = min(1.0, 2 * max((tail_at(bound) for bound in bounds), default=0.5))
    return Estimate(
        count / total, lower(tail), upper(tail), level=level, unit=unit, method=build.SHARE,
        n=array.size, clusters=total, sd=float(means.std(ddof=1)) if total > 1 else None, p=p,
    )  # fmt: skip


def exact(value: float, error: float = 0.0, *, unit: str = "", n: int = 1) -> Estimate:
    """Return a fact without sampling: a weight, a count, an identity; value +- numerical error."""
    if not np.isfinite(value):
        return undecidable("the value is NaN or infinite", unit=unit, n=n)
    return fact(float(value), float(error), method=build.EXACT, unit=unit, n=n, clusters=0)


def prompts_as_independent(values: ArrayLike, *, level: float = 0.95, unit: str = "") -> Estimate:
    """Make the t interval over prompts as if independent, as studies do; replication only."""
    array = np.asarray(values, dtype=float)
    reason = "no prompts" if array.size == 0 else not_finite(array)
    if reason:
        return undecidable(reason, unit=unit, n=array.size)
    return from_limits(
        core.t_limits(array, level=level), n=array.size, clusters=array.size, error=0.0,
        level=level, unit=unit, method=build.INDEPENDENT,
        sd=float(array.std(ddof=1)) if array.size > 1 else None,
    )  # fmt: skip


def pooled_correlation(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Correlation over prompts taken as independent, as studies publish it; replication only."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    reason = "fewer than four prompts" if a.size < 4 else not_finite(np.concatenate([a, b]))
    if reason:
        return undecidable(reason, n=a.size, unit="r")
    r = core.pearson(a, b)
    if not np.isfinite(r):
        return undecidable("a variable does not vary", n=a.size, unit="r")
    z, se = core.fisher(r), np.asarray(1 / np.sqrt(a.size - 3))
    half = core.t_quantile(level, np.inf) * se
    limits = Limits(z, se, np.asarray(float(a.size - 2)), z - half, z + half)
    return from_limits(
        limits, n=a.size, clusters=a.size, error=0.0, level=level, unit="r", method=build.POOLED,
        scale=build.FISHER,
    )  # fmt: skip
