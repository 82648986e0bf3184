"""Thousands of planted studies: how often the rule decides wrongly, and how often it decides."""

from __future__ import annotations

import numpy as np
import pytest
from planting import ABOVE_ZERO, Plan, lower_limit, not_above, upper_limit, verdicts

from refutable.records import Region
from refutable.stats import core, decide, power

NOISE = ("normal", "t3", "lognormal 0.5")
CORRELATIONS = (0.0, 0.3, 0.6)
FAMILIES = (5, 8, 15, 30)


@pytest.mark.slow
@pytest.mark.parametrize("families", FAMILIES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("noise", NOISE)
def test_at_the_boundary_at_most_five_percent_a_side(noise, correlation, families):
    plan = Plan(noise, families, correlation)
    said = verdicts(plan.draw(2000, seed=1), plan.labels, ABOVE_ZERO)
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)
    assert said.any()  # the rule is not silent altogether


@pytest.mark.parametrize("noise", NOISE)
def test_inside_nothing_is_refuted_and_outside_nothing_is_confirmed(noise):
    plan = Plan(noise, 8, 0.3)
    values = plan.draw(2000, seed=2)
    inside = verdicts(values + 0.5, plan.labels, ABOVE_ZERO)
    outside = verdicts(values - 0.5, plan.labels, ABOVE_ZERO)
    assert not_above(inside < 0, 0.005)
    assert not_above(outside > 0, 0.005)
    assert (inside > 0).mean() > 0.25
    assert (outside < 0).mean() > 0.25


@pytest.mark.parametrize("edge", [-0.7, 0.7])
def test_equivalence_errs_at_most_five_percent_at_either_edge(edge):
    plan = Plan("normal", 15, 0.3)
    values = plan.draw(4000, seed=3)
    said = verdicts(values + edge, plan.labels, Region(-0.7, 0.7))
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)
    middle = verdicts(values, plan.labels, Region(-0.7, 0.7))
    assert (middle > 0).mean() > 0.8
    assert not (middle < 0).any()


@pytest.mark.parametrize("families", FAMILIES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_known_limit_of_strong_skew(correlation, families):
    """Lognormal noise of sigma 1 is beyond the stated 5 %, and stays below 10 %."""
    plan = Plan("lognormal 1", families, correlation)
    said = verdicts(plan.draw(1000, seed=4), plan.labels, ABOVE_ZERO)
    assert not_above(said < 0, 0.10)
    assert not_above(said > 0, 0.05)


def test_skew_check_takes_off_half_of_the_false_verdicts_of_t_alone():
    plan = Plan("lognormal 1", 8, 0.6)
    values = plan.draw(4000, seed=5)
    means, _ = core.group_means(values, list(plan.labels))
    limits = core.t_limits(means)
    alone = decide.sides(limits.low, limits.high, ABOVE_ZERO)
    both = verdicts(values, plan.labels, ABOVE_ZERO)
    assert (alone < 0).mean() > 0.10
    assert (both < 0).sum() < 0.8 * (alone < 0).sum()


@pytest.mark.parametrize(
    ("families", "t_alone", "with_check"),
    [(5, 0.27, 0.18), (8, 0.49, 0.40), (15, 0.80, 0.76), (30, 0.98, 0.98)],
)
def test_stated_power_at_half_a_sd(families, t_alone, with_check):
    """Six prompts a family, correlation .3; the skew check costs the small studies some power."""
    rng = np.random.default_rng(6)
    shape = (3000, families)
    means = 0.5 + np.sqrt(0.3) * rng.standard_normal(shape)
    means += np.sqrt(0.7 / 6) * rng.standard_normal(shape)
    limits = core.t_limits(means)
    check = core.bootstrap_limits(means, core.resampling_weights(families, seed=1))
    alone = decide.sides(limits.low, limits.high, ABOVE_ZERO) > 0
    both = decide.agreed(limits.low, limits.high, check, ABOVE_ZERO) > 0
    assert alone.mean() == pytest.approx(t_alone, abs=0.03)
    assert both.mean() == pytest.approx(with_check, abs=0.03)


def test_smallest_margin_that_thirty_families_decide():
    margin = power.detectable_margin(30)
    assert margin == pytest.approx(0.62, abs=0.015)
    means = np.random.default_rng(7).standard_normal((4000, 30))
    limits = core.t_limits(means)
    said = decide.sides(limits.low, limits.high, Region(-margin, margin)) > 0
    assert said.mean() == pytest.approx(0.80, abs=0.02)


def test_why_prompts_are_not_pooled():
    """25 prompts in 5 families of correlation .5: a pooled t test rejects a true null 27 %."""
    rng = np.random.default_rng(8)
    values = np.sqrt(0.5) * np.repeat(rng.standard_normal((4000, 5)), 5, axis=1)
    values += np.sqrt(0.5) * rng.standard_normal((4000, 25))
    pooled = core.t_limits(values)
    wrong = decide.sides(pooled.low, pooled.high, ABOVE_ZERO) != 0
    assert wrong.mean() == pytest.approx(0.27, abs=0.03)
    families = np.repeat(np.arange(5).astype(str), 5)
    assert not_above(verdicts(values, families, ABOVE_ZERO) != 0, 0.05)


def test_why_looking_again_is_not_allowed():
    """Five families, then 15, then 30 until decided errs in 12 % of studies."""
    means = np.random.default_rng(9).standard_normal((4000, 30))
    decided = np.zeros(4000, dtype=bool)
    for n in (5, 15, 30):
        limits = core.t_limits(means[:, :n])
        decided |= decide.sides(limits.low, limits.high, ABOVE_ZERO) != 0
    assert decided.mean() == pytest.approx(0.12, abs=0.02)


def test_range_of_families_needed_covers_the_truth():
    """From five families the true number lies in the printed range nine times out of ten."""
    from refutable.records import Estimate
    from refutable.stats.build import T_FAMILIES

    rng = np.random.default_rng(10)
    truth = power.units_for(0.4)
    covered = []
    for _ in range(150):
        sd = float(rng.standard_normal(5).std(ddof=1))
        estimate = Estimate(0.4, None, None, sd=sd, clusters=5, method=T_FAMILIES)
        low, high = power.families_needed(estimate, ABOVE_ZERO)
        covered.append(low <= truth <= high)
    hits = int(np.sum(covered))
    assert lower_limit(hits, 150) <= 0.9 <= upper_limit(hits, 150) or hits / 150 > 0.9
