"""A model against copies of its null control: both are draws, and both count.

A model is one draw (or one a training seed), and its control a few. Were the model held for a
constant, one that is but another draw of its own control would be told from it in 16 to 31 % of
studies, the more often the more copies there are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import numpy as np

from refutable.records import Estimate
from refutable.stats import build, core, decide, discrete
from refutable.stats.build import DEFAULTS, Terms, from_limits, not_finite, undecidable
from refutable.stats.core import Floats, Limits

AGAINST_COPIES = "t over the model's own draw, copies of the control and families"
STEP = "Welch t on family means, and copies of the control"


def control_limits(model: Floats, control: Floats, *, level: float = 0.95) -> Limits:
    """Interval for model minus control with draws of either and families as random units.

    The variance is that of the model's draws (over their number), of the copies (over theirs) and
    of the families' differences (over theirs), less the residual counted in both; at least the
    larger of draws and families. A single draw of the model is taken to vary as the copies do, as
    it does where it is one of them. Degrees of freedom are Satterthwaite's.

    Parameters
    ----------
    model : array, (..., draw, family)
        One draw, or one for each training seed.
    control : array, (..., copy, family)
        Two copies or more, of the same families.
    level : float
        Level of the two-sided interval.
    """
    draws, families = model.shape[-2:]
    copies = control.shape[-2]
    value = model.mean(axis=(-2, -1)) - control.mean(axis=(-2, -1))
    if copies < 2 or families < 2:
        zero = np.zeros_like(value)
        return Limits(value, zero + np.inf, zero, value - np.inf, value + np.inf)
    by_family = model.mean(axis=-2) - control.mean(axis=-2)
    of_families = by_family.var(axis=-1, ddof=1) / families
    of_copies, third_copies, rest_copies = _draws(control)
    parts = [(of_copies / copies, copies - 1)]
    if draws > 1:
        of_model, third_own, rest_own = _draws(model)
        parts.append((of_model / draws, draws - 1))
        third = third_own / draws**2 - third_copies / copies**2
        rest = rest_own / draws + rest_copies / copies
    else:
        parts = [(of_copies * (1 + 1 / copies), copies - 1)]
        third = third_copies * (1 - 1 / copies**2)
        rest = rest_copies * (1 + 1 / copies)
    of_draws = np.sum([part for part, _ in parts], axis=0)
    scatter = np.sum([part**2 / df for part, df in parts], axis=0)
    larger = np.maximum(of_draws, of_families)
    variance = np.maximum(of_draws + of_families - rest, larger)
    with np.errstate(invalid="ignore", divide="ignore"):
        both = variance**2 / (scatter + of_families**2 / (families - 1))
        alone = np.where(of_draws >= of_families, of_draws**2 / scatter, float(families - 1))
        df = np.where(variance > larger, both, alone)
    df = np.where(np.isfinite(df), df, float(families - 1))
    se = np.sqrt(variance)
    third = third + core.third_moment(by_family) / families**2
    half = core.t_quantile(level, df) * se
    return Limits(value, se, df, value - half, value + half, core.standardized(third, se))


def control_contrast(
    model: Floats,
    control: Floats,
    *,
    n: int,
    **terms: Unpack[Terms],
) -> Estimate:
    """Model minus control as a record (see `control_limits`).

    Parameters
    ----------
    model : array, (draw, family)
        The model's reduced values.
    control : array, (copy, family)
        The control's.
    n : int
        Prompts behind each row.
    **terms
        See `Terms`; the error is that of the difference.
    """
    terms = {**DEFAULTS, **terms}
    error, level, unit = terms["error"], terms["level"], terms["unit"]
    copies, families = control.shape
    values = np.concatenate([model.ravel(), control.ravel()])
    reason = "no families" if values.size == 0 else not_finite(values)
    if reason:
        return undecidable(reason, unit=unit, n=n, clusters=families)
    if discrete.spread(model.ravel()) <= error and discrete.spread(control.ravel()) <= error:
        made = _agreed(model, control, min(copies, families), n=n, **terms)
        return replace(made, seeds=copies, clusters=families)
    made = from_limits(
        control_limits(model, control, level=level), n=n, clusters=families,
        method=AGAINST_COPIES, **terms,
    )  # fmt: skip
    return replace(made, seeds=copies)


def step_limits(
    lower: Floats, upper: Floats, *, model: tuple[Floats, Floats] | None = None
) -> Limits:
    """Interval for a step between two groups of families on copies of a control.

    With `model` for the model's step less that of its copies, the model one more draw of them.
    Families are units within each group (Welch), copies beside them; what both variances count is
    not taken off, so that the interval is a little too wide rather than too narrow.

    Parameters
    ----------
    lower, upper : array, (..., copy, family)
        The control's values in the group that the step leaves and in the one that it reaches.
    model : tuple of array, optional
        The model's, (..., family) each.
    """
    copies = lower.shape[-2]
    steps = upper.mean(axis=-1) - lower.mean(axis=-1)
    sides = [group.mean(axis=-2) for group in (lower, upper)]
    share, third_share = 1 / copies, 1 / copies**2
    if model is not None:
        sides = [one - other for one, other in zip(model, sides, strict=True)]
        share, third_share = 1 + 1 / copies, 1 - 1 / copies**2
    families = core.welch_limits(sides[0], sides[1])
    if copies < 2:
        none = np.zeros_like(families.value)
        return Limits(families.value, none + np.inf, none, none - np.inf, none + np.inf)
    of_draws = steps.var(axis=-1, ddof=1) * share
    variance = families.se**2 + of_draws
    with np.errstate(invalid="ignore", divide="ignore"):
        df = variance**2 / (families.se**4 / families.df + of_draws**2 / (copies - 1))
    df = np.where(np.isfinite(df), df, families.df)
    se = np.sqrt(variance)
    third = families.skew * families.se**3 + core.third_moment(steps) * third_share
    half = core.t_quantile(0.95, df) * se
    value = families.value
    return Limits(value, se, df, value - half, value + half, core.standardized(third, se))


def step_contrast(
    lower: Floats,
    upper: Floats,
    *,
    n: int,
    model: tuple[Floats, Floats] | None = None,
    error: float = 0.0,
    unit: str = "",
    part: str = "",
) -> Estimate:
    """Step between two groups of families as a record (see `step_limits`).

    Parameters
    ----------
    lower, upper, model
        As for `step_limits`, of one study.
    n : int
        Prompts behind each row.
    error : float
        The instrument's error of the step.
    unit, part
        As for `refutable.stats.estimate.family_mean`.
    """
    values = np.concatenate([array.ravel() for array in (lower, upper, *(model or ()))])
    clusters = min(lower.shape[-1], upper.shape[-1])
    reason = not_finite(values) or ("a group has no two families" if clusters < 2 else None)
    if reason:
        return undecidable(reason, unit=unit, n=n, clusters=clusters)
    limits = step_limits(lower, upper, model=model)
    if float(limits.se) <= error:
        reason = "families and copies differ by no more than the instrument's error"
        return undecidable(reason, unit=unit, n=n, clusters=clusters)
    made = from_limits(
        limits, n=n, clusters=clusters, error=error, level=0.95, unit=unit, method=STEP, part=part
    )
    return replace(made, seeds=lower.shape[0])


def number_limits(model: Floats, control: Floats, *, level: float = 0.95) -> Limits:
    """Interval for model minus control where each draw gives one number, (..., draw)."""
    if model.shape[-1] > 1:
        return core.welch_limits(control, model, level=level)
    copies = control.shape[-1]
    alone = core.t_limits(control, level=level)
    value = model[..., 0] - alone.value
    se = alone.se * np.sqrt(copies + 1)
    half = core.t_quantile(level, alone.df) * se
    skew = core.standardized(core.third_moment(control) * (1 - 1 / copies**2), se)
    return Limits(value, se, alone.df, value - half, value + half, skew)


def numbers_contrast(model: Floats, control: Floats, **terms: Unpack[Terms]) -> Estimate:
    """Model minus control where each draw gives one number and families do not enter.

    Parameters
    ----------
    model : array, (draw,)
        A single draw is taken to vary as the copies do.
    control : array, (copy,)
        The control's numbers.
    **terms
        As for `control_contrast`.
    """
    terms = {**DEFAULTS, **terms}
    values = np.concatenate([model, control])
    reason = not_finite(values) or ("fewer than two copies" if control.size < 2 else None)
    if reason:
        return undecidable(reason, unit=terms["unit"], n=model.size, clusters=control.size)
    error = terms["error"]
    if discrete.spread(model) <= error and discrete.spread(control) <= error:
        table, copies = model[:, None], control[:, None]
        return _agreed(table, copies, control.size, n=model.size, **terms)
    limits = number_limits(model, control, level=terms["level"])
    method = build.WELCH if model.size > 1 else AGAINST_COPIES
    return from_limits(limits, n=model.size, clusters=control.size, method=method, **terms)


def _agreed(
    model: Floats, control: Floats, units: int, *, n: int, **terms: Unpack[Terms]
) -> Estimate:
    """Model minus control where each gives one value throughout, (draw, family) and (copy, family).

    A model that is a single draw lies beyond five copies that agree in up to 7 % of studies though
    it is one more of them: as for a rank, it takes 19 to tell it.
    """
    draws, copies = len(model), len(control)
    values = np.concatenate([model.ravel(), control.ravel()])
    reach = max(float(np.abs(values).max()), 1.0 if discrete.whole(values) else 0.0)
    if draws == 1 and 1 / (copies + 1) > decide.ALPHA:
        # No less than all that it can differ by.
        reach *= 2 / discrete.unseen(units, level=terms["level"])
    elif draws > 1:
        units = min(units, draws)
    made = discrete.agreement(
        np.array([model.mean() - control.mean()]), units=units, n=n, reach=reach,
        error=terms["error"], level=terms["level"], unit=terms["unit"], region=terms["region"],
    )  # fmt: skip
    return replace(made, part=terms["part"])


def _draws(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Variance and third moment of the rows' means, and the residual variance of such a mean."""
    rows, families = table.shape[-2:]
    means = table.mean(axis=-1)
    rest = table - means[..., None] - table.mean(axis=-2, keepdims=True)
    rest = rest + table.mean(axis=(-2, -1), keepdims=True)
    free = max((rows - 1) * (families - 1), 1)
    residual = (rest**2).sum(axis=(-2, -1)) / free / families
    return means.var(axis=-1, ddof=1), core.third_moment(means), residual
