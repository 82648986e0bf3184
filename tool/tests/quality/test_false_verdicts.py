"""Thousands of planted studies: how often the rule decides wrongly, and how often it decides."""

from __future__ import annotations

import numpy as np
import pytest
from planting import (
    ABOVE_ZERO,
    FAR,
    SKEWED,
    Plan,
    decided,
    errs_at_most,
    lower_limit,
    not_above,
    standard,
    studies,
    upper_limit,
    verdicts,
)

from refutable.records import Region
from refutable.stats import core, decide, power

NOISE = ("normal", *SKEWED, *FAR)
CORRELATIONS = (0.0, 0.3, 1.0)
FAMILIES = (5, 6, 8, 12, 15, 20, 30, 44)


@pytest.mark.parametrize("families", FAMILIES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_at_the_boundary_at_most_five_percent_a_side(correlation, families):
    """Correlation 1 leaves the family means as skew as the noise is: the hardest case."""
    for noise in NOISE:
        plan = Plan(noise, families, correlation)
        said = verdicts(plan.draw(1500, seed=1), plan.labels, ABOVE_ZERO)
        errs_at_most(said, 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize("families", [8, 15, 44])
@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.5, 0.9])
def test_two_large_families_among_many_small_ones(correlation, families):
    """Sixty prompts each, two in all others: every family weighs the same."""
    sizes = [60, 60, *[2] * (families - 2)]
    index = np.repeat(np.arange(families), sizes)
    rng = np.random.default_rng([11, families])
    for noise in ("normal", "lognormal 1"):
        shared = standard(noise, rng, (studies(600), families))[:, index]
        apart = standard(noise, rng, (studies(600), index.size))
        values = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * apart
        said = verdicts(values, index.astype(str), ABOVE_ZERO)
        errs_at_most(said, 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize("noise", NOISE)
def test_inside_nothing_is_refuted_and_outside_nothing_is_confirmed(noise):
    plan = Plan(noise, 8, 0.3)
    values = plan.draw(2000, seed=2)
    far = 1.5 if noise == "normal" else 2.5
    inside = verdicts(values + far, plan.labels, ABOVE_ZERO)
    outside = verdicts(values - far, plan.labels, ABOVE_ZERO)
    assert not_above(inside < 0, 0.005)
    assert not_above(outside > 0, 0.005)
    assert (inside > 0).mean() > 0.3
    assert (outside < 0).mean() > 0.3


@pytest.mark.parametrize("edge", [-0.7, 0.7])
def test_equivalence_errs_at_most_five_percent_at_either_edge(edge):
    plan = Plan("normal", 15, 0.3)
    values = plan.draw(4000, seed=3)
    said = verdicts(values + edge, plan.labels, Region(-0.7, 0.7))
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)
    middle = verdicts(values, plan.labels, Region(-1.1, 1.1))
    assert (middle > 0).mean() > 0.8
    assert not (middle < 0).any()


@pytest.mark.parametrize(
    ("share", "apart", "bound"),
    [(0.1, 12, 0.13), (0.05, 15, 0.11), (0.1, 10, 0.085), (0.2, 8, 0.105), (0.02, 25, 0.13)],
)
def test_known_limit_more_and_farther_outliers(share, apart, bound):
    """No sample without such a family shows that they exist: 21 and 46 % of those of 15."""
    rng = np.random.default_rng(4)
    for families in (5, 8, 15, 30, 44, 60):
        shape = (3000, families)
        units = rng.standard_normal(shape) + apart * ((rng.random(shape) < share) - share)
        said = decided(core.t_limits(units), ABOVE_ZERO)
        assert not_above(said < 0, bound)
        assert not_above(said > 0, 0.01)


@pytest.mark.parametrize(
    ("noise", "few", "many"),
    [("lognormal 1.5", 0.11, 0.03), ("gamma 0.2", 0.13, 0.02), ("weibull 0.5", 0.11, 0.025)],
)
def test_known_limit_longer_tails(noise, few, many):
    """Five to eight families of so skew a kind hold none of its tail; thirty do."""
    rng = np.random.default_rng(12)
    for families, bound in ((5, few), (8, few), (30, many), (60, many)):
        said = decided(core.t_limits(standard(noise, rng, (3000, families))), ABOVE_ZERO)
        assert not_above(said < 0, bound)
        assert not_above(said > 0, 0.01)


def test_why_the_guard_is_never_less_than_so_many_standard_errors():
    """The t quantile falls with the number of families; what none of them shows does not."""
    rng = np.random.default_rng(7)
    limits = core.t_limits(standard("outliers 12", rng, (4000, 30)))
    quantile = core.Guard(core.GUARD.level)
    assert (decided(limits, ABOVE_ZERO, guard=quantile) < 0).mean() > 0.09
    errs_at_most(decided(limits, ABOVE_ZERO))


def test_why_the_shown_interval_alone_does_not_decide():
    rng = np.random.default_rng(5)
    for noise, families, least in (("lognormal 1", 8, 0.10), ("outliers 8", 15, 0.08)):
        limits = core.t_limits(standard(noise, rng, (4000, families)))
        alone = decide.sides(limits.low, limits.high, ABOVE_ZERO)
        assert (alone < 0).mean() > least
        errs_at_most(decided(limits, ABOVE_ZERO))


@pytest.mark.parametrize("families", [5, 8, 10, 15, 25, 44, 150])
def test_stated_power_is_met_by_the_rule_that_decides(families):
    rng = np.random.default_rng(6)
    noise = rng.standard_normal((3000, families))
    for stated in (0.5, 0.8, 0.95):
        effect = power.detectable_effect(families, power=stated)
        said = decided(core.t_limits(noise + effect), ABOVE_ZERO) > 0
        assert said.mean() == pytest.approx(stated, abs=0.03)
        assert power.power_at(effect, families) == pytest.approx(stated, abs=0.03)
        margin = power.detectable_margin(families, power=stated)
        inside = decided(core.t_limits(noise), Region(-margin, margin)) > 0
        assert inside.mean() == pytest.approx(stated, abs=0.03)


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
