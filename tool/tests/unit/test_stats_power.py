"""What can be decided with how much data, multiplicity, and two releases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support import guarded

from refutable.records import Estimate, Region
from refutable.stats import build, core, power
from refutable.stats import estimate as est
from refutable.stats.multiplicity import holm
from refutable.stats.paired import ALPHA, paired_change, unpaired_change


@pytest.mark.parametrize(
    ("units", "effect", "margin"),
    [(5, 4.2, 5.2), (8, 2.1, 2.4), (15, 1.43, 1.58), (30, 0.95, 1.05), (44, 0.77, 0.84)],
)
def test_what_is_detected_with_80_percent_power(units, effect, margin):
    """In sd between units; quality tests hold these against studies drawn afresh."""
    assert power.detectable_effect(units) == pytest.approx(effect, rel=0.03)
    assert power.detectable_margin(units) == pytest.approx(margin, rel=0.03)
    assert power.detectable_effect(units, power=0.5) < effect


def test_units_for_is_the_first_number_with_the_power():
    n = power.units_for(0.5)
    assert power.detectable_effect(n) <= 0.5 < power.detectable_effect(n - 1)
    assert power.units_for(100.0) == 5
    assert power.units_for(0.0) is None
    # Four times as many units for half the effect, once t hardly differs from normal.
    assert power.units_for(0.05) / power.units_for(0.1) == pytest.approx(4, rel=0.01)


def _estimate(value, sd, clusters, **changes):
    return Estimate(value, None, None, sd=sd, clusters=clusters, method=build.T_FAMILIES, **changes)


def test_families_needed_spans_the_uncertainty_of_the_spread():
    low, high = power.families_needed(_estimate(0.2, 1.0, 5), Region(0.0, None))
    middle = power.units_for(0.2)
    assert low / middle == pytest.approx(4 / stats.chi2.ppf(0.95, 4), rel=0.07)
    assert high / middle == pytest.approx(4 / stats.chi2.ppf(0.05, 4), rel=0.07)


def test_families_needed_uses_the_nearest_bound_and_the_error():
    near = power.families_needed(_estimate(0.8, 1.0, 30), Region(0.0, 1.0))
    assert near == power.families_needed(_estimate(0.2, 1.0, 30), Region(0.0, None))
    wide = power.families_needed(_estimate(0.3, 1.0, 30, error=0.1), Region(0.0, None))
    assert wide == pytest.approx(near)


@pytest.mark.parametrize(
    "estimate",
    [
        _estimate(0.0, 1.0, 8),  # on the bound
        _estimate(0.2, 0.0, 8),
        _estimate(0.2, None, 1),
        _estimate(None, 1.0, 8),
        _estimate(0.05, 1.0, 8, error=0.1),
    ],
)
def test_families_needed_is_undefined(estimate):
    assert power.families_needed(estimate, Region(0.0, None)) is None


def test_violation_bound():
    assert power.violation_bound(299) == pytest.approx(0.01, abs=1e-4)
    # The bound is the share at which 299 clean draws have probability 5 %.
    assert (1 - power.violation_bound(299)) ** 299 == pytest.approx(0.05)
    assert power.violation_bound(0) == 1.0


def test_holm_by_hand():
    adjusted, survives = holm([0.01, None, 0.04, 0.02])
    # Sorted .01, .02, .04, (1): times 4, 3, 2, 1, made monotone.
    assert adjusted[0] == pytest.approx(0.04)
    assert adjusted[3] == pytest.approx(0.06)
    assert adjusted[2] == pytest.approx(0.08)
    assert adjusted[1] is None
    assert survives == [True, None, False, False]
    assert holm([]) == ([], [])


def test_paired_change_at_the_margins_edge():
    d = np.array([0.01, 0.03, 0.02, 0.04, 0.05, 0.03])
    for sign in (1, -1):
        change = paired_change(sign * d, margin=0.0)
        assert change.p == pytest.approx(guarded.of_mean(sign * d, 0.0))
        beyond = paired_change(sign * d, margin=0.02)
        assert beyond.p == pytest.approx(guarded.of_mean(sign * d, sign * 0.02))
        guard = guarded.guard(sign * d.mean(), stats.sem(d), 5, guarded.third(sign * d))
        assert (beyond.low, beyond.high) == pytest.approx(guard)
    assert paired_change(d, margin=0.04).p == 1.0  # inside the margin nothing speaks for a change


def test_paired_same_is_an_interval_inside_the_margin():
    rng = np.random.default_rng(0)
    d = rng.normal(0, 0.01, 30)
    assert paired_change(d, margin=0.02).same
    assert not paired_change(d, margin=0.0005).same
    assert paired_change(d + 0.5, margin=0.02).changed
    assert not paired_change(d, margin=0.02).changed


def test_differences_that_agree():
    same = paired_change(np.zeros(8), margin=0.01, error=1e-6)
    assert (same.same, same.changed, same.p) == (True, False, None)
    # All moved alike: eight families can still hide a third that did not.
    moved = paired_change(np.full(8, 0.02), margin=0.01, error=1e-6)
    assert (moved.same, moved.changed) == (False, True)
    assert moved.p == pytest.approx(2 * 0.5**8, rel=1e-2)
    little = paired_change(np.full(8, 0.012), margin=0.01, error=1e-6)
    assert (little.same, little.changed) == (False, False)


def test_one_family_says_nothing():
    change = paired_change(np.array([0.5]), margin=0.01)
    assert not change.same
    assert not change.changed
    assert change.p == 1.0


def test_the_change_test_decides_where_the_guard_leaves_the_margin():
    d = np.array([-0.02, 0.0, -0.01, 0.01, 0.02])  # symmetrical: no bend
    half = stats.t.ppf(0.9975, 4) * stats.sem(d)
    assert paired_change(d + 1.01 * half, margin=0.0).changed
    assert not paired_change(d + 0.99 * half, margin=0.0).changed
    assert paired_change(d, margin=1.01 * half).same
    assert not paired_change(d, margin=0.99 * half).same
    assert ALPHA == 0.05


def test_an_unpaired_change_is_welchs():
    base, candidate = (1.0, 0.4, 8), (1.7, 0.9, 5)
    change = unpaired_change(base, candidate, margin=0.0)
    test = stats.ttest_ind_from_stats(*candidate, *base, equal_var=False)
    assert change.value == pytest.approx(0.7)
    assert change.p == pytest.approx(np.sqrt(test.pvalue / 2))
    assert change.families == 5
    variances = np.array([0.4**2 / 8, 0.9**2 / 5])
    df = variances.sum() ** 2 / (variances**2 / [7, 4]).sum()
    half = stats.t.ppf(0.9975, df) * np.sqrt(variances.sum())
    assert (change.low, change.high) == pytest.approx((0.7 - half, 0.7 + half))
    # Inside a margin that holds the interval, and not inside one that ends within it.
    assert unpaired_change(base, candidate, margin=0.7 + 1.01 * half).same
    assert not unpaired_change(base, candidate, margin=0.7 + 0.99 * half).same
    beyond = unpaired_change(base, candidate, margin=0.3)
    se = np.sqrt(variances.sum())
    assert beyond.p == pytest.approx(np.sqrt(stats.t.sf((0.7 - 0.3) / se, df)))
    back = unpaired_change(candidate, base, margin=0.3)
    assert (back.value, back.p) == (pytest.approx(-0.7), pytest.approx(beyond.p))


def test_estimates_without_any_spread_are_compared_by_value():
    moved = unpaired_change((1.0, 0.0, 6), (1.5, 0.0, 9), margin=0.4)
    assert (moved.changed, moved.same, moved.p, moved.families) == (True, False, None, 6)
    assert unpaired_change((1.0, 0.0, 6), (1.5, 0.0, 9), margin=0.6).same
    one_sided = unpaired_change((1.0, 0.0, 6), (1.5, 0.1, 9), margin=0.4)
    # Degrees of freedom of the side that varies.
    assert one_sided.p == pytest.approx(guarded.p_of(0.1, 0.1 / 3, 8, 0.0))


def test_seeds_needed_is_met_by_the_rule_that_decides():
    """Studies with that many seeds are decided in about 80 %."""
    rng = np.random.default_rng(1)
    for of_families in (0.0, 0.3):
        table = 1.0 * standard(rng, (8, 1)) + of_families * standard(rng, (1, 44))
        table = table - table.mean() + 0.9
        estimate = est.two_way(table, region=Region(0.0, None))
        seeds = power.seeds_needed(estimate, Region(0.0, None))
        assert seeds is not None
        made = float(estimate.sd or 0.0) * rng.standard_normal((2000, seeds, 1))
        made = made + of_families * rng.standard_normal((2000, 1, 44)) + 0.9
        limits = core.two_way_limits(made)
        decided = (limits.low > 0) & (core.guard_ends(limits)[0] > 0)
        assert 0.7 < decided.mean() < 0.93
    on_bound = replace(estimate, value=0.0)
    assert power.seeds_needed(on_bound, Region(0.0, None)) is None


def standard(rng, shape):
    values = rng.standard_normal(shape)
    return (values - values.mean()) / values.std(ddof=1)
