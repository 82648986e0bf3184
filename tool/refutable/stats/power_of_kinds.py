"""Power where the rule is not t on units: shares, orders, correlations, a model beside copies.

Each function simulates (or counts) the very rule that decides, for normal values or for families
that are of one mind, and says which truth is decided with the power that is asked for.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc, betaincinv

from refutable.stats import core, correlation, unmixing
from refutable.stats.controls import number_limits
from refutable.stats.core import Floats

STUDIES = 2000
OF_CORRELATIONS = 1500
"""Studies of a correlation, whose power is then known to within a point."""
HALVINGS = 7


def share_decided(bound: float, families: int, *, above: bool, power: float = 0.8) -> float | None:
    """True share that is decided against a bound, each family of one mind.

    Parameters
    ----------
    bound : float
        Of the claim, between 0 and 1.
    families : int
        Families, each a draw.
    above : bool
        Whether the claim is that the share lies above the bound.
    power : float
        Chance of the verdict.

    Returns
    -------
    float or None
        By the binomial distribution; ``None`` where not even a share of 1 (or 0) is decided.
    """
    if not above:
        mirrored = share_decided(1 - bound, families, above=True, power=power)
        return None if mirrored is None else 1 - mirrored
    hits = np.arange(1, families + 1)
    decided = hits[betaincinv(hits, families - hits + 1, 0.025) > bound]
    if not decided.size:
        return None
    # P(at least k hits) is the beta distribution's function of the share.
    least = int(decided[0])
    return float(betaincinv(least, families - least + 1, power))


def share_power(share: float, bound: float, families: int) -> float:
    """Chance that a true share is found above a bound, each family of one mind."""
    hits = np.arange(1, families + 1)
    decided = hits[betaincinv(hits, families - hits + 1, 0.025) > bound]
    return float(bdtrc(decided[0] - 1, families, share)) if decided.size else 0.0


@cache
def _steps(sizes: tuple[int, ...]) -> Floats:
    """For each of many studies without steps, what all steps must add to be confirmed."""
    rng = np.random.default_rng([20, *sizes])
    groups = [rng.standard_normal((STUDIES, size)) for size in sizes]
    lows = []
    for lower, upper in pairwise(groups):
        limits = core.welch_limits(lower, upper)
        lows.append(np.minimum(core.guard_ends(limits)[0], limits.low))
    return np.asarray(-np.min(lows, axis=0))


def step_decided(sizes: tuple[int, ...], *, power: float = 0.8) -> float:
    """Step beyond what is asked, in sd between families, at which an order is confirmed.

    Parameters
    ----------
    sizes : tuple of int
        Families of each group, from the smallest group mean to the largest; every step is alike.
    power : float
        Chance that every step is found.
    """
    return float(np.quantile(_steps(sizes), power))


@cache
def _beside_copies(draws: int, copies: int) -> Floats:
    """For each of many studies without a difference, what the model must lie beyond its copies."""
    rng = np.random.default_rng([20, draws, copies])
    model, control = (rng.standard_normal((STUDIES, n)) for n in (draws, copies))
    limits = number_limits(model, control)
    return np.asarray(-np.minimum(core.guard_ends(limits)[0], limits.low))


def draws_decided(draws: int, copies: int, *, power: float = 0.8) -> float:
    """Distance of a model from its copies that is decided, in sd between copies.

    Parameters
    ----------
    draws : int
        One model, or its training seeds, which vary as the copies do.
    copies : int
        Copies of the control.
    power : float
        Chance of the verdict, where families vary little.
    """
    return float(np.quantile(_beside_copies(draws, copies), power))


class Correlated(NamedTuple):
    """A planted correlation: families of so many prompts, half of the variance between them."""

    sizes: tuple[int, ...]
    bound: float


def correlation_power(r: float, planted: Correlated) -> float:
    """Chance that a correlation of `r` both between and within families is found above a bound."""
    rng = np.random.default_rng([20, *planted.sizes])
    index = np.repeat(np.arange(len(planted.sizes)), planted.sizes)

    def pair(count: int) -> Floats:
        first, second = rng.standard_normal((2, OF_CORRELATIONS, count))
        return np.array([first, r * first + np.sqrt(1 - r**2) * second])

    x, y = pair(len(planted.sizes))[..., index] + pair(index.size)
    sums = unmixing.family_sums(x, y, [str(i) for i in index])
    within = correlation.jackknife_limits(sums, between=False)
    of_means = correlation.jackknife_limits(sums, between=True)
    low = core.guard_ends(within, guard=correlation.GUARD_WITHIN)[0]
    lower = core.guard_ends(of_means, guard=correlation.GUARD_BETWEEN)[0]
    ends = [core.fisher_back(np.minimum(lower, of_means.low)), core.fisher_back(of_means.high)]
    confirmed = np.minimum(low, within.low) > core.fisher(planted.bound)
    return float((confirmed & (unmixing.unmixing(sums).ends(*ends)[0] > planted.bound)).mean())


@cache
def correlation_decided(planted: Correlated, *, power: float = 0.8) -> float:
    """Correlation, alike between and within families, that is found above a bound."""
    low, high = planted.bound, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if correlation_power(middle, planted) > power else (middle, high)
    return high
