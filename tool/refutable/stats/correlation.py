"""Correlations over prompts, split into a part between families and a part within them.

A pooled correlation can have the opposite sign of both parts; it is kept for replication only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Estimate, Region
from refutable.stats import core
from refutable.stats.build import FISHER, from_limits, not_finite, undecidable
from refutable.stats.core import Floats, Limits
from refutable.stats.estimate import unit_mean

BETWEEN = "Fisher z of family means, t with G - 2 df"
WITHIN = "t on Fisher z of each family"
SMALLEST_FAMILY = 4
"""Prompts a family needs for a Fisher z of its own."""


def between_limits(x: Floats, y: Floats, *, level: float = 0.95) -> Limits:
    """Fisher z interval over the last axis (families); z scale, t quantile with G - 2 df."""
    n = x.shape[-1]
    z = core.fisher(core.pearson(x, y))
    se = np.full(z.shape, 1 / np.sqrt(n - 3) if n > 3 else np.inf)
    df = np.full(z.shape, float(n - 2))
    half = core.t_quantile(level, df) * se
    return Limits(z, se, df, z - half, z + half)


def jackknife_limits(x: Floats, y: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of Fisher z from leaving each family out: makes no assumption of normality."""
    n = x.shape[-1]
    whole = core.fisher(core.pearson(x, y))
    others = ~np.eye(n, dtype=bool)
    left = np.stack(
        [core.fisher(core.pearson(x[..., keep], y[..., keep])) for keep in others], axis=-1
    )
    values = n * whole[..., None] - (n - 1) * left
    se = values.std(axis=-1, ddof=1) / np.sqrt(n)
    half = core.t_quantile(level, float(n - 2)) * se
    return whole - half, whole + half


def correlation_parts(
    x: ArrayLike,
    y: ArrayLike,
    families: Sequence[str],
    *,
    error: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    level: float = 0.95,
    region: Region | None = None,
) -> tuple[Estimate, Estimate]:
    """Correlation of two variables between families and within them.

    Parameters
    ----------
    x, y : array, (prompt,)
        The two variables.
    families : sequence of str, (prompt,)
        Family of each prompt.
    error : tuple of float
        The instrument's error of x and of y.
    seed : int
        Seed of the bootstrap beside the within part.
    level : float
        Level of the two-sided intervals.
    region : Region, optional
        The predicted region, for p.

    Returns
    -------
    between : Estimate
        Correlation of the family means; the check beside it is a jackknife over families.
    within : Estimate
        Mean of the Fisher z of each family of four prompts or more, as a correlation.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    reason = "no prompts" if a.size == 0 else not_finite(np.concatenate([a, b]))
    if reason:
        return _both_undecidable(reason, a.size)
    return (
        _between(a, b, families, error, level, region),
        _within(a, b, families, error, seed, level, region),
    )


def family_correlations(
    x: Floats, y: Floats, families: Sequence[str], error: tuple[float, float] = (0.0, 0.0)
) -> dict[str, float]:
    """Fisher z of each family of four prompts or more in which both variables vary.

    The small-sample bias of z, r / (2 (n - 1)), is taken off.
    """
    labels = np.array([str(f) for f in families])
    found: dict[str, float] = {}
    for name in dict.fromkeys(labels.tolist()):
        mine = labels == name
        if mine.sum() < SMALLEST_FAMILY:
            continue
        own = [x[mine], y[mine]]
        if _flat(own, error):
            continue
        r = float(core.pearson(*own))
        found[name] = float(core.fisher(r)) - r / (2 * (int(mine.sum()) - 1))
    return found


def _between(
    x: Floats,
    y: Floats,
    families: Sequence[str],
    error: tuple[float, float],
    level: float,
    region: Region | None,
) -> Estimate:
    means = [core.group_means(v, families)[0] for v in (x, y)]
    count = means[0].size
    reason = ""
    if count < 3:
        reason = "fewer than three families"
    elif _flat(means, error):
        reason = "between families a variable varies no more than the instrument's error"
    if reason:
        return _part(undecidable(reason, n=x.size, clusters=count), "between families")
    limits = between_limits(*means, level=level)
    ends = jackknife_limits(*means, level=level) if count > 4 else (np.nan, np.nan)
    # Where one family alone makes a variable vary, nothing is left without it: no check holds.
    low, high = ends if np.isfinite(ends).all() else (-np.inf, np.inf)
    return from_limits(
        limits, n=x.size, clusters=count, error=_shift(means, error), level=level,
        check=(float(low), float(high)), unit="r", method=BETWEEN, region=region,
        part="between families", scale=FISHER,
    )  # fmt: skip


def _within(
    x: Floats,
    y: Floats,
    families: Sequence[str],
    error: tuple[float, float],
    seed: int,
    level: float,
    region: Region | None,
) -> Estimate:
    z = family_correlations(x, y, families, error)
    if not z:
        reason = f"no family has {SMALLEST_FAMILY} prompts in which both variables vary"
        return _part(undecidable(reason, n=x.size), "within families")
    units = np.array(list(z.values()))
    plain = unit_mean(units, n=x.size, seed=seed, level=level)
    check = None
    if plain.check_low is not None and plain.check_high is not None:
        check = (plain.check_low, plain.check_high)
    centred = [_centred(v, families) for v in (x, y)]
    return from_limits(
        core.t_limits(units, level=level), n=x.size, clusters=units.size,
        sd=plain.sd, error=_shift(centred, error), level=level, check=check, unit="r",
        method=WITHIN, region=region, part="within families", scale=FISHER,
    )  # fmt: skip


def _flat(variables: Sequence[Floats], error: tuple[float, float]) -> bool:
    """Whether one of two variables varies by no more than its error, or than rounding."""
    within = any(v.std(ddof=1) <= e for v, e in zip(variables, error, strict=True))
    return within or not np.isfinite(core.pearson(*variables))


def _shift(variables: Sequence[Floats], error: tuple[float, float]) -> float:
    """Largest first-order change of r when each variable moves by its error."""
    return float(sum(e / v.std(ddof=1) for v, e in zip(variables, error, strict=True) if e > 0))


def _centred(values: Floats, families: Sequence[str]) -> Floats:
    means, names = core.group_means(values, families)
    place = {name: i for i, name in enumerate(names)}
    return values - means[[place[str(f)] for f in families]]


def _both_undecidable(reason: str, n: int) -> tuple[Estimate, Estimate]:
    made = undecidable(reason, n=n)
    return _part(made, "between families"), _part(made, "within families")


def _part(estimate: Estimate, name: str) -> Estimate:
    from dataclasses import replace

    return replace(estimate, part=name, unit="r")
