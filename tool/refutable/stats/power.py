"""What can be decided with how much data; printed before measuring and beside INCONCLUSIVE."""

from __future__ import annotations

import numpy as np

from refutable.records import Estimate, Region
from refutable.stats.build import T_FAMILIES, WELCH, limiting_bounds

_MOST = 1_000_000


def families_needed(
    estimate: Estimate, region: Region, *, power: float = 0.8, level: float = 0.95
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
    level : float
        Level of the interval.

    Returns
    -------
    tuple of int or None
        ``None`` where it is undefined: a value on the bound, no spread, or an estimate that is
        not a mean over families or a difference of two such means.
    """
    from scipy import stats

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
    ends = [
        units_for(distance / (sd * float(np.sqrt(df / stats.chi2.ppf(q, df)))), power, level)
        for q in (0.95, 0.05)
    ]
    if ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def units_for(effect: float, power: float = 0.8, level: float = 0.95) -> int | None:
    """Fewest units (5 or more) that detect `effect` (in sd); ``None`` above a million."""
    low, high = 5, 5
    while _power(effect, high, level) < power:
        low, high = high, high * 2
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _power(effect, middle, level) < power:
            low = middle
        else:
            high = middle
    return high


def detectable_effect(units: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest distance from a bound, in sd between units, that is decided with this power."""
    from scipy import optimize

    return float(optimize.brentq(lambda e: _power(e, units, level) - power, 0.0, 1000.0))


def detectable_margin(families: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest margin of a `within` claim that is confirmed with this power when the truth is 0.

    In sd of a family mean; both one-sided tests must pass at half of 1 - level.
    """
    from scipy import optimize

    return float(
        optimize.brentq(lambda m: _equivalence_power(m, families, level) - power, 1e-6, 1000.0)
    )


def violation_bound(n: int, *, level: float = 0.95) -> float:
    """Upper bound on the share of violations when `n` independent draws show none."""
    return float(1 - (1 - level) ** (1 / n)) if n > 0 else 1.0


def _power(effect: float, units: int, level: float) -> float:
    """Chance that the t interval lies wholly above a bound which the truth exceeds by `effect`."""
    from scipy import stats

    critical = stats.t.ppf(0.5 + level / 2, units - 1)
    return float(stats.nct.sf(critical, units - 1, effect * np.sqrt(units)))


def _equivalence_power(margin: float, units: int, level: float) -> float:
    from scipy import integrate, stats

    df = units - 1
    critical = stats.t.ppf(0.5 + level / 2, df)
    most = margin * np.sqrt(units) / critical

    def density(spread: float) -> float:
        room = margin * np.sqrt(units) - critical * spread
        chance = 2 * stats.norm.cdf(room) - 1
        return float(chance * stats.chi2.pdf(df * spread**2, df) * 2 * df * spread)

    return float(integrate.quad(density, 0.0, min(most, 10.0), limit=200)[0])
