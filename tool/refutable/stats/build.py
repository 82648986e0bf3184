"""From the limits of one study to an `Estimate` record, widened by the instrument's error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Estimate, Region
from refutable.stats import core
from refutable.stats.core import Floats, Limits

T_FAMILIES = "t on family means"
WELCH = "Welch t on family means"
TWO_WAY = "two-way t over seeds and families"
AGREED = "agreement of every prompt, and what as many families can hide"
EXACT = "fact: value and numerical error"
POOLED = "Fisher z, prompts as independent"
INDEPENDENT = "t, prompts as independent"
SHARE = "Clopper-Pearson with families as units"
SEARCH = "search for a counterexample"
FACTS = (EXACT,)
"""Methods without sampling: value and error against the region."""


FISHER = (core.fisher, core.fisher_back)
"""Scale on which intervals of correlations are made."""


class Terms(TypedDict, total=False):
    """What an estimate is made under, whatever it is of; what is left out is as in `DEFAULTS`."""

    error: float
    """The instrument's error of one value, in units of the values."""
    level: float
    """Level of the two-sided interval."""
    unit: str
    region: Region | None
    """The predicted region, for p."""
    part: str
    """Which part of a claim it is of, where that has several."""


DEFAULTS = Terms(error=0.0, level=0.95, unit="", region=None, part="")


def undecidable(reason: str, *, unit: str = "", n: int = 0, clusters: int = 0) -> Estimate:
    """Return an estimate without a value, which can only be INCONCLUSIVE for `reason`."""
    return Estimate(None, None, None, unit=unit, n=n, clusters=clusters, note=reason)


def not_finite(values: Floats) -> str | None:
    """Say how many values are NaN or infinite, or ``None`` when all are numbers."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    return f"{bad} of {values.size} values are NaN or infinite" if bad else None


def rounding(values: ArrayLike) -> float:
    """Error that the number format alone can leave in `values`."""
    array = np.asarray(values)
    if array.size == 0 or not np.issubdtype(array.dtype, np.floating):
        return 0.0
    largest = float(np.abs(array).max())
    return 4 * float(np.finfo(array.dtype).eps) * largest if np.isfinite(largest) else 0.0


def from_limits(
    limits: Limits,
    *,
    n: int,
    clusters: int,
    error: float,
    level: float,
    unit: str,
    method: str,
    sd: float | None = None,
    region: Region | None = None,
    part: str = "",
    scale: tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]] | None = None,
    guard: core.Guard = core.GUARD,
) -> Estimate:
    """Turn the limits of one study into a record, widened by `error`.

    The check beside the interval is its guard (`core.guard_ends`).
    `scale` is a pair (forward, back): the limits live on the forward scale (Fisher z), the
    record, its error and the region on the original one.
    """
    forward, back = scale or (np.asarray, np.asarray)
    ends = [float(back(end)) for end in (limits.value, limits.low, limits.high)]
    checks = [float(back(end)) for end in core.guard_ends(limits, guard=guard)]
    p = None
    if region is not None:
        reach = _distances(ends[0], region, error, forward)
        p = max(
            (float(core.smallest_level(limits, np.asarray(d), guard=guard)) for d in reach),
            default=1.0,
        )
    return Estimate(
        value=ends[0], low=_number(ends[1] - error), high=_number(ends[2] + error), level=level,
        unit=unit, method=method, n=n, clusters=clusters, sd=sd, df=_number(float(limits.df)),
        error=error, check_low=_widen(checks[0], -error), check_high=_widen(checks[1], error),
        p=p, part=part,
    )  # fmt: skip


def limiting_bounds(value: float, region: Region) -> list[float]:
    """Bounds that an interval around `value` must stay clear of for a verdict.

    All bounds of the region for a value inside it, the violated one for a value outside.
    """
    above = region.low is None or value > region.low
    below = region.high is None or value < region.high
    limits = (region.low, not above or below), (region.high, not below or above)
    return [bound for bound, counts in limits if bound is not None and counts]


def _distances(
    value: float, region: Region, error: float, forward: Callable[[Floats], Floats]
) -> list[float]:
    """How far the bounds that limit a value's verdict lie from it, on the forward scale."""
    here = float(forward(np.asarray(value)))
    reach = []
    for bound in limiting_bounds(value, region):
        towards = bound + error if value > bound else bound - error
        clear = abs(value - bound) > error
        reach.append(float(forward(np.asarray(towards))) - here if clear else 0.0)
    return reach


def fact(
    value: float, error: float, *, method: str, unit: str = "", n: int = 1, clusters: int = 0
) -> Estimate:
    """Return value +- error without sampling."""
    return Estimate(
        value, value - error, value + error, unit=unit, method=method, n=n, clusters=clusters,
        error=error,
    )  # fmt: skip


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _widen(end: float | None, by: float) -> float | None:
    return None if end is None else _number(end + by)
