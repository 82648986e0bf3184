"""How alike things of two kinds are, against two of one kind: training runs taken in pairs.

Pairs that share a run depend on each other, so a run is left out with all its pairs: the jackknife
of a U-statistic (Arvesen, "Jackknifing U-statistics", Annals of Mathematical Statistics 1969).
"""

from __future__ import annotations

import numpy as np

from refutable.stats import core
from refutable.stats.core import Floats, Limits


def across_minus_within(across: Floats, within: Floats) -> Floats:
    """Mean likeness of runs of two kinds less that of two runs of the second kind.

    Parameters
    ----------
    across : array, (..., run, run)
        Likeness of each run of the first kind with each of the second. Runs of equal place share
        more than others (initial values, data order): the diagonal is left out.
    within : array, (..., run, run)
        Likeness of two runs of the second kind.

    Returns
    -------
    array, (...)
    """
    apart = ~np.eye(across.shape[-1], dtype=bool)
    return np.asarray(across[..., apart].mean(-1) - within[..., apart].mean(-1))


def by_run(across: Floats, within: Floats) -> Floats:
    """What each run contributes: its mean likeness across kinds less its twin's within its own."""
    apart = ~np.eye(across.shape[-1], dtype=bool)
    others = apart.sum(axis=1)
    return np.asarray(((across - within) * apart).sum(axis=1) / others)


def pair_limits(across: Floats, within: Floats, *, level: float = 0.95) -> Limits:
    """Interval of `across_minus_within` with runs and families of rows both as random units.

    The variance is the sum of two jackknife variances, over runs and over families. What the two
    have in common is counted twice, so that the interval is a little too wide rather than too
    narrow. Degrees of freedom are Satterthwaite's.

    Parameters
    ----------
    across, within : array, (1 + family, run, run)
        Likenesses on all families, then with each family left out; without further rows runs are
        the only units.
    level : float
        Level of the two-sided interval.
    """
    runs, families = across.shape[-1], across.shape[0] - 1
    value = across_minus_within(across[0], within[0])
    if runs < 3:
        # With one run left out there is no pair.
        zero = np.zeros_like(value)
        return Limits(value, zero + np.inf, zero, value - np.inf, value + np.inf)
    kept = [np.delete(np.arange(runs), run) for run in range(runs)]
    without_run = np.array(
        [across_minus_within(across[0][np.ix_(k, k)], within[0][np.ix_(k, k)]) for k in kept]
    )
    without_family = across_minus_within(across[1:], within[1:])
    of_runs, of_families = _variance(without_run), _variance(without_family)
    variance = of_runs + of_families
    spread = of_runs**2 / (runs - 1) + of_families**2 / max(families - 1, 1)
    df = np.asarray(variance**2 / spread if spread > 0 else 0.0)
    se = np.asarray(np.sqrt(variance))
    # Models that are the same have no variance, and t has no quantile at 0 degrees of freedom.
    half = core.t_quantile(level, df) * se if variance > 0 else np.zeros_like(se)
    skew = core.standardized(_third(value, without_run) + _third(value, without_family), se)
    return Limits(value, se, df, value - half, value + half, skew)


def _third(whole: Floats, left_out: Floats) -> Floats:
    """Third cumulant of the whole from jackknife values."""
    count = len(left_out)
    if count < 3:
        return np.zeros(())
    return core.third_moment(count * whole - (count - 1) * left_out) / count**2


def _variance(left_out: Floats) -> float:
    """Jackknife variance from the values with each unit left out; 0 for fewer than two units."""
    count = len(left_out)
    if count < 2:
        return 0.0
    return float((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
