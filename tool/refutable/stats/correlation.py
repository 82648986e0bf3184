"""Correlations over prompts, split into a part between families and a part within them.

A pooled correlation can have the opposite sign of both parts; it is kept for replication only.
Both parts are made from the same sums of each family and leave one family out at a time, so that
no family counts as more than one unit however many prompts or ties it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Estimate, Region
from refutable.stats import core
from refutable.stats.build import (
    FISHER,
    from_limits,
    limiting_bounds,
    not_finite,
    undecidable,
)
from refutable.stats.core import Floats, Limits

BETWEEN = "jackknife over families on Fisher z of family means, the noise within families taken off"
WITHIN = "jackknife over families on Fisher z of pooled centred values"
BETWEEN_PART, WITHIN_PART = "between families", "within families"
GUARD = 0.98
"""Level of the guard of a correlation: on the Fisher z scale no single family reaches far."""
SHARE_TAIL = 0.1
"""Either tail of the interval for how much of the variance of family means is noise."""
FEWEST = 4
"""Families below which leaving one out says nothing."""


@dataclass(frozen=True, slots=True)
class FamilySums:
    """What each family adds to the variances and the covariance of x and y, (..., family)."""

    sizes: Floats
    """(family,)."""
    means: tuple[Floats, Floats]
    xx: Floats
    """Sum of squares about the family's own mean; ``yy`` and ``xy`` likewise."""
    yy: Floats
    xy: Floats
    names: tuple[str, ...]

    def only(self, keep: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FamilySums:
        """Return the sums of some of the families."""
        x, y = self.means
        names = tuple(n for n, kept in zip(self.names, keep, strict=True) if kept)
        return FamilySums(
            self.sizes[keep], (x[..., keep], y[..., keep]), self.xx[..., keep],
            self.yy[..., keep], self.xy[..., keep], names,
        )  # fmt: skip


def family_sums(x: Floats, y: Floats, families: Sequence[str]) -> FamilySums:
    """Reduce two variables, (..., prompt), to the sums of each family."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    mx, names = core.group_means(x, families)
    my, _ = core.group_means(y, families)
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[str(f)] for f in families], dtype=np.intp)
    member = np.eye(len(names))[index]
    a, b = _clean(x - mx[..., index], x), _clean(y - my[..., index], y)
    return FamilySums(
        member.sum(axis=0), (mx, my), (a * a) @ member, (b * b) @ member, (a * b) @ member, names
    )


def within_z(sums: FamilySums) -> Floats:
    """Fisher z of centred values pooled over families; NaN where a variable does not vary."""
    xx, yy, xy = (part.sum(axis=-1) for part in (sums.xx, sums.yy, sums.xy))
    return _z(xy, xx, yy)


def between_z(sums: FamilySums) -> Floats:
    """Fisher z of the families' own means, which carry the noise of their prompts."""
    return core.fisher(core.pearson(*sums.means))


def pseudo_values(sums: FamilySums, *, between: bool) -> Floats:
    """Jackknife values of Fisher z, (..., family): what each family says of the whole."""
    statistic = between_z if between else within_z
    n = sums.sizes.size
    left = [statistic(sums.only(np.arange(n) != i)) for i in range(n)]
    return np.asarray(n * statistic(sums)[..., None] - (n - 1) * np.stack(left, axis=-1))


def jackknife_limits(sums: FamilySums, *, between: bool, level: float = 0.95) -> Limits:
    """Interval on the Fisher z scale from leaving each family out; NaN where it is undefined.

    Between families it is that of the means as they are (see `Unmixing`), and the standard error
    at least that of a correlation of normal variables.
    """
    pseudo = pseudo_values(sums, between=between)
    n = pseudo.shape[-1]
    value = (between_z if between else within_z)(sums)
    se = pseudo.std(axis=-1, ddof=1) / np.sqrt(n)
    if between:
        # Where one family alone makes a variable vary, nothing is left without it.
        se = np.where(np.isnan(se), np.inf, np.maximum(se, 1 / np.sqrt(max(n - 3, 1))))
    df = np.full(value.shape, float(n - 2 if between else n - 1))
    half = core.t_quantile(level, df) * se
    skew = core.standardized(core.third_moment(pseudo) / n**2, se)
    return Limits(value, se, df, value - half, value + half, skew)


@dataclass(frozen=True, slots=True)
class Unmixing:
    """From the correlation of family means to that between families, without their prompts' noise.

    The mean of a family of n prompts carries a share 1 - s of noise, and with it of the correlation
    within families: r(means) = sqrt(s_x s_y) r(between) + sqrt((1 - s_x)(1 - s_y)) r(within). The
    shares come from the analysis of variance (F distribution); at an intra-class correlation of 0.1
    and 8 prompts half of what family means show is not theirs.
    """

    slopes: Floats
    """(way of reading the shares, ...): first as estimated, then at the ends of their intervals."""
    offsets: Floats
    known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """Whether more than noise varies between families, at every reading."""

    def ends(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Widest interval between families from one (as r) for the means; -1 to 1 if unknown."""
        with np.errstate(invalid="ignore", divide="ignore"):
            lows = ((low - self.offsets) / self.slopes).min(axis=0)
            highs = ((high - self.offsets) / self.slopes).max(axis=0)
        return (
            np.where(self.known, np.clip(lows, -1, 1), -1.0),
            np.where(self.known, np.clip(highs, -1, 1), 1.0),
        )

    def means(self, bound: float) -> Floats:
        """Correlations of family means that a correlation between families may give."""
        return np.clip(self.slopes * bound + self.offsets, -1, 1)


def unmixing(sums: FamilySums, *, tail: float = SHARE_TAIL) -> Unmixing:
    """Read how much of the family means' variances is noise, and what correlation it brings."""
    from scipy import stats

    free = float((sums.sizes - 1).sum())
    count = sums.sizes.size - 1
    per_mean = float((1 / sums.sizes).mean()) / max(free, 1.0)
    within = np.nan_to_num(core.fisher_back(within_z(sums)))
    quantiles = [None, *(stats.f.ppf(q, count, max(free, 1.0)) for q in (tail, 1 - tail))]
    ways = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    slopes, offsets, known = [], [], np.ones(np.shape(within), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = [
            part.sum(axis=-1) * per_mean / mean.var(axis=-1, ddof=1)
            for part, mean in zip((sums.xx, sums.yy), sums.means, strict=True)
        ]
    for way in ways:
        share = [
            n if quantiles[q] is None else n * quantiles[q] for n, q in zip(noise, way, strict=True)
        ]
        if way != (0, 0):
            known &= (share[0] < 1) & (share[1] < 1)
        share = [np.clip(part, 0.0, 1.0) for part in share]
        slopes.append(np.sqrt((1 - share[0]) * (1 - share[1])))
        offsets.append(np.sqrt(share[0] * share[1]) * within)
    return Unmixing(np.array(slopes), np.array(offsets), known & (free > 0))


def correlation_parts(
    x: ArrayLike,
    y: ArrayLike,
    families: Sequence[str],
    *,
    error: tuple[float, float] = (0.0, 0.0),
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
    level : float
        Level of the two-sided intervals.
    region : Region, optional
        The predicted region, for p.

    Returns
    -------
    between : Estimate
        Correlation of the families' means, the noise of their prompts taken off.
    within : Estimate
        Correlation of values about their families' means, pooled over families.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    reason = "no prompts" if a.size == 0 else not_finite(np.concatenate([a, b]))
    if reason:
        made = undecidable(reason, n=a.size)
        return _part(made, BETWEEN_PART), _part(made, WITHIN_PART)
    sums = family_sums(a, b, families)
    how = {"n": a.size, "level": level, "region": region}
    return _between(sums, error, **how), _within(sums, error, **how)  # type: ignore[arg-type]


def family_correlations(
    x: Floats, y: Floats, families: Sequence[str], *, between: bool = False
) -> dict[str, float]:
    """Jackknife value of Fisher z of each family; empty where it is undefined."""
    sums = family_sums(x, y, families)
    if not between:
        sums = sums.only(sums.sizes > 1)
    if sums.sizes.size < FEWEST:
        return {}
    values = pseudo_values(sums, between=between)
    if not np.isfinite(values).all():
        return {}
    return dict(zip(sums.names, values.tolist(), strict=True))


def _between(
    sums: FamilySums,
    error: tuple[float, float],
    *,
    n: int,
    level: float,
    region: Region | None,
) -> Estimate:
    count = sums.sizes.size
    reason = ""
    if count < FEWEST:
        reason = f"fewer than {FEWEST} families"
    elif _flat(sums.means, error):
        reason = "between families a variable varies no more than the instrument's error"
    elif not (sums.sizes > 1).any():
        reason = "one prompt a family: between families cannot be told from within"
    if not reason:
        limits, unmixed = jackknife_limits(sums, between=True, level=level), unmixing(sums)
        if bool(unmixed.known):
            error_r = _shift(sums.means, error)
            return replace(_unmixed(limits, unmixed, error_r, level, region), n=n, clusters=count)
        reason = "the noise of prompts within families hides what lies between them"
    return _part(undecidable(reason, n=n, clusters=count), BETWEEN_PART)


def _unmixed(
    limits: Limits, unmixed: Unmixing, error: float, level: float, region: Region | None
) -> Estimate:
    """Make the record of the part between families from the limits of the family means."""
    back = core.fisher_back
    value = float(unmixed.ends(back(limits.value), back(limits.value))[0])
    slope, offset = float(unmixed.slopes[0]), float(unmixed.offsets[0])
    if slope > 0:
        value = float(np.clip((float(back(limits.value)) - offset) / slope, -1, 1))
    low, high = unmixed.ends(back(limits.low), back(limits.high))
    guard = unmixed.ends(*(back(end) for end in core.guard_ends(limits, level=GUARD)))
    p = None
    if region is not None:
        p = max(
            (
                _smallest(limits, unmixed, value, bound, error)
                for bound in limiting_bounds(value, region)
            ),
            default=1.0,
        )
    return Estimate(
        value, float(low) - error, float(high) + error, level=level, unit="r", method=BETWEEN,
        df=float(limits.df), error=error, check_low=float(guard[0]) - error,
        check_high=float(guard[1]) + error, p=p, part=BETWEEN_PART,
    )  # fmt: skip


def _smallest(limits: Limits, unmixed: Unmixing, value: float, bound: float, error: float) -> float:
    """P of one bound: at the reading of the noise that brings it nearest."""
    towards = bound + error if value > bound else bound - error
    if abs(value - bound) <= error:
        return 1.0
    away = core.fisher(unmixed.means(towards)) - limits.value
    side = -1.0 if value > bound else 1.0
    nearest = side * float((side * away).min())
    if side * nearest <= 0:
        return 1.0
    return float(core.smallest_level(limits, np.asarray(nearest), guard=GUARD))


def _within(
    sums: FamilySums,
    error: tuple[float, float],
    *,
    n: int,
    level: float,
    region: Region | None,
) -> Estimate:
    sums = sums.only(sums.sizes > 1)
    count = sums.sizes.size
    if count < FEWEST:
        reason = f"fewer than {FEWEST} families have two or more prompts"
        return _part(undecidable(reason, n=n, clusters=count), WITHIN_PART)
    free = float((sums.sizes - 1).sum())
    spread = [float(np.sqrt(part.sum() / free)) for part in (sums.xx, sums.yy)]
    limits = jackknife_limits(sums, between=False, level=level)
    flat = any(s <= e for s, e in zip(spread, error, strict=True))
    if flat or not np.isfinite(limits.se):
        reason = "within families a variable varies no more than the instrument's error"
        return _part(undecidable(reason, n=n, clusters=count), WITHIN_PART)
    shift = sum(e / s for s, e in zip(spread, error, strict=True) if e > 0)
    return from_limits(
        limits, n=n, clusters=count, error=float(shift), level=level, unit="r", method=WITHIN,
        region=region, part=WITHIN_PART, scale=FISHER, guard=GUARD,
    )  # fmt: skip


def _z(xy: Floats, xx: Floats, yy: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        r = xy / np.sqrt(xx * yy)
    return np.asarray(np.where((xx > 0) & (yy > 0), core.fisher(r), np.nan))


def _clean(centred: Floats, values: Floats) -> Floats:
    """Set what is no more than the rounding of a mean to zero."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    return np.asarray(np.where(np.abs(centred) <= 8 * np.finfo(float).eps * largest, 0.0, centred))


def _flat(variables: Sequence[Floats], error: tuple[float, float]) -> bool:
    """Whether one of two variables varies by no more than its error, or than rounding."""
    within = any(v.std(ddof=1) <= e for v, e in zip(variables, error, strict=True))
    return within or not np.isfinite(core.pearson(variables[0], variables[1]))


def _shift(variables: Sequence[Floats], error: tuple[float, float]) -> float:
    """Largest first-order change of r when each variable moves by its error."""
    return float(sum(e / v.std(ddof=1) for v, e in zip(variables, error, strict=True) if e > 0))


def _part(estimate: Estimate, name: str) -> Estimate:
    return replace(estimate, part=name, unit="r")
