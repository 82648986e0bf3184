"""What can be decided with how much data; printed before measuring and beside INCONCLUSIVE."""

from __future__ import annotations

from functools import cache

import numpy as np

from refutable.records import Estimate, Region
from refutable.stats import core
from refutable.stats.build import T_FAMILIES, WELCH, limiting_bounds
from refutable.stats.core import Floats

_MOST = 1_000_000
GRID = (5, 6, 7, 8, 10, 12, 15, 20, 30, 44, 60, 100)
"""Numbers of units that are simulated."""
STUDIES = 4000
"""Power is then known to within 0.7 points."""


def families_needed(
    estimate: Estimate, region: Region, *, power: float = 0.8
) -> tuple[int, int] | None:
    """Range for the number of families whose interval clears the region's nearest bound.

    The spread between families is itself only estimated; the range is what its two-sided 90 %
    chi-square interval makes of the number (from five families: .42 to 5.6 times).

    Parameters
    ----------
    estimate : Estimate
        With ``value``, ``sd`` and ``clusters``; other families are taken to have the same value.
    region : Region
        The predicted region.
    power : float
        Chance of a verdict with that many families, if value and spread are right.

    Returns
    -------
    tuple of int or None
        ``None`` where it is undefined: a value on the bound, no spread, or an estimate that is
        not a mean over families or a difference of two such means.
    """
    from scipy.special import gammaincinv

    value, sd = estimate.value, estimate.sd
    if value is None or not sd or estimate.clusters < 2:
        return None
    if estimate.method not in (T_FAMILIES, WELCH):
        return None
    if estimate.method == WELCH:  # two groups of that many families each
        sd *= float(np.sqrt(2))
    distance = min((abs(value - b) for b in limiting_bounds(value, region)), default=0.0)
    distance -= estimate.error
    if distance <= 0:
        return None
    df = estimate.clusters - 1
    # A quantile of chi-square with df degrees of freedom is twice one of a gamma with df / 2.
    ends = [
        units_for(distance / (sd * float(np.sqrt(df / (2 * gammaincinv(df / 2, q))))), power=power)
        for q in (0.95, 0.05)
    ]
    if ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def seeds_needed(estimate: Estimate, region: Region, *, power: float = 0.8) -> int | None:
    """Training seeds with which a value as it stands would be decided, the families as they are.

    What the families add to the standard error does not shrink with more seeds. Skew is left out,
    so that it is a lower bound where seeds are skew.

    Parameters
    ----------
    estimate : Estimate
        Of a two-way interval: ``sd`` is that between seeds.
    region : Region
        The predicted region.
    power : float
        Chance of a verdict with that many seeds, if value and spread are right.

    Returns
    -------
    int or None
        ``None`` where no number of seeds decides it, or none below a thousand.
    """
    value, sd, high, df = estimate.value, estimate.sd, estimate.high, estimate.df
    if value is None or not sd or high is None or not df or not estimate.seeds:
        return None
    distance = min((abs(value - b) for b in limiting_bounds(value, region)), default=0.0)
    distance -= estimate.error
    se = (high - value - estimate.error) / float(core.t_quantile(estimate.level, df))
    of_families = max(se**2 - sd**2 / estimate.seeds, 0.0)
    for seeds in range(GRID[0], 1001):
        # The share of seeds in the variance decides how many degrees of freedom there are.
        needed = detectable_effect(seeds, power=power) * sd
        alone = detectable_effect(max(estimate.clusters, GRID[0]), power=power)
        rest = alone * float(np.sqrt(of_families * max(estimate.clusters, 1)))
        if np.hypot(needed, rest) < distance:
            return seeds
    return None


def units_for(effect: float, power: float = 0.8) -> int | None:
    """Fewest units (5 or more) that detect `effect` (in sd); ``None`` above a million."""
    effect = abs(effect)
    if effect <= 0 or detectable_effect(_MOST, power=power) > effect:
        return None
    low, high = 5, 5
    while detectable_effect(high, power=power) > effect:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if detectable_effect(middle, power=power) > effect:
            low = middle
        else:
            high = middle
    return high


def detectable_effect(units: int, *, power: float = 0.8) -> float:
    """Smallest distance from a bound, in sd between units, that is decided with this power.

    By simulation of the rule that decides, the guard included, on normal noise; between the
    numbers of units simulated it is interpolated, and scaled above them.
    """
    return _read(units, power, margin=False)


def detectable_margin(families: int, *, power: float = 0.8) -> float:
    """Smallest margin of a `within` claim that is confirmed with this power when the truth is 0.

    In sd of a family mean. It is also the margin at which the gate can say SAME of releases that do
    not differ. By simulation, as `detectable_effect`.
    """
    return _read(families, power, margin=True)


def power_at(effect: float, units: int) -> float:
    """Chance of a verdict when the truth lies `effect` sd beyond a bound, by simulation."""
    return float((_needed(units, False) < effect).mean())


def violation_bound(n: int, *, level: float = 0.95) -> float:
    """Upper bound on the share of violations when `n` independent draws show none."""
    return float(1 - (1 - level) ** (1 / n)) if n > 0 else 1.0


def exact_interval(count: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share, from `count` of `n` independent draws."""
    from scipy.special import betainccinv, betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0
    high = float(betainccinv(count + 1, n - count, tail)) if count < n else 1.0
    return low, high


def _read(units: int, power: float, *, margin: bool) -> float:
    if units < GRID[0]:
        return float("inf")
    if units >= GRID[-1]:
        most = GRID[-1]
        return float(np.quantile(_needed(most, margin), power)) * float(np.sqrt(most / units))
    above = next(i for i, n in enumerate(GRID) if n > units)
    left, right = GRID[above - 1], GRID[above]
    ends = [float(np.log(np.quantile(_needed(n, margin), power))) for n in (left, right)]
    return float(np.exp(np.interp(np.log(units), np.log([left, right]), ends)))


@cache
def _needed(units: int, margin: bool) -> Floats:
    """For each of many normal studies of mean 0 and sd 1, the distance that would be decided.

    Parameters
    ----------
    units : int
        Units of each study.
    margin : bool
        Of an equivalence, whose both bounds must be cleared, instead of a single bound.
    """
    rng = np.random.default_rng([units, 20])
    low, high = core.guard_ends(core.t_limits(rng.standard_normal((STUDIES, units))))
    return np.maximum(-low, high) if margin else -low
