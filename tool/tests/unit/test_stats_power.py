"""What can be decided with how much data, multiplicity, and two releases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refutable.records import Estimate, Region
from refutable.stats import build, power
from refutable.stats.multiplicity import holm
from refutable.stats.paired import ALPHA, paired_change, unpaired_change


@pytest.mark.parametrize(
    ("families", "margin"), [(5, 1.95), (8, 1.34), (15, 0.90), (30, 0.62), (60, 0.43)]
)
def test_smallest_margin_that_can_be_decided(families, margin):
    assert power.detectable_margin(families) == pytest.approx(margin, abs=0.015)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 3.26), (5, 1.68), (8, 1.16)])
def test_detectable_contrast_in_sd_of_paired_differences(seeds, effect):
    assert power.detectable_effect(seeds) == pytest.approx(effect, abs=0.01)


def test_units_for_is_the_first_number_with_the_power():
    def rejected(n: int) -> float:
        """Power of a one-sided t test at 2.5 % against half a standard deviation."""
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.5 * np.sqrt(n))

    n = power.units_for(0.5)
    assert rejected(n) >= 0.8 > rejected(n - 1)


def _estimate(value, sd, clusters, **changes):
    return Estimate(value, None, None, sd=sd, clusters=clusters, method=build.T_FAMILIES, **changes)


def test_families_needed_spans_the_uncertainty_of_the_spread():
    low, high = power.families_needed(_estimate(0.2, 1.0, 5), Region(0.0, None))
    middle = power.units_for(0.2)
    assert low / middle == pytest.approx(4 / stats.chi2.ppf(0.95, 4), rel=0.05)
    assert high / middle == pytest.approx(4 / stats.chi2.ppf(0.05, 4), rel=0.05)


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
    found = paired_change(d, margin=0.0)
    assert found.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    beyond = paired_change(d, margin=0.02)
    se = d.std(ddof=1) / np.sqrt(6)
    expected = stats.t.sf((d.mean() - 0.02) / se, 5) + stats.t.sf((d.mean() + 0.02) / se, 5)
    assert beyond.p == pytest.approx(expected)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.90)
    assert (beyond.low, beyond.high) == pytest.approx((interval.low, interval.high))


def test_paired_same_is_an_interval_inside_the_margin():
    rng = np.random.default_rng(0)
    d = rng.normal(0, 0.01, 30)
    assert paired_change(d, margin=0.02).same
    assert not paired_change(d, margin=0.0005).same
    assert paired_change(d + 0.5, margin=0.02).changed
    assert not paired_change(d, margin=0.02).changed


def test_paired_facts_are_compared_by_value():
    same = paired_change(np.zeros(8), margin=0.01, error=1e-6)
    moved = paired_change(np.full(8, 0.02), margin=0.01, error=1e-6)
    assert (same.same, same.changed, same.p) == (True, False, None)
    assert (moved.same, moved.changed, moved.p) == (False, True, None)


def test_one_family_says_nothing():
    found = paired_change(np.array([0.5]), margin=0.01)
    assert not found.same
    assert not found.changed
    assert found.p == 1.0


def test_the_change_test_is_at_5_percent():
    d = np.array([0.01, 0.03, 0.02, 0.04, 0.05, 0.03])
    half = stats.t.ppf(0.975, 5) * d.std(ddof=1) / np.sqrt(6)
    # Against no margin at all both tails count, as in an interval of 95 %.
    assert paired_change(d - d.mean() + 1.01 * half, margin=0.0).changed
    assert not paired_change(d - d.mean() + 0.99 * half, margin=0.0).changed
    assert ALPHA == 0.05


def test_an_unpaired_change_is_welchs():
    base, candidate = (1.0, 0.4, 8), (1.7, 0.9, 5)
    found = unpaired_change(base, candidate, margin=0.0)
    test = stats.ttest_ind_from_stats(*candidate, *base, equal_var=False)
    assert found.value == pytest.approx(0.7)
    assert found.p == pytest.approx(test.pvalue)
    assert found.families == 5
    variances = np.array([0.4**2 / 8, 0.9**2 / 5])
    df = variances.sum() ** 2 / (variances**2 / [7, 4]).sum()
    half = stats.t.ppf(0.95, df) * np.sqrt(variances.sum())
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half))
    # Inside a margin that holds the interval, and not inside one that ends within it.
    assert unpaired_change(base, candidate, margin=0.7 + 1.01 * half).same
    assert not unpaired_change(base, candidate, margin=0.7 + 0.99 * half).same
    beyond = unpaired_change(base, candidate, margin=0.3)
    se = np.sqrt(variances.sum())
    expected = stats.t.sf((0.7 - 0.3) / se, df) + stats.t.sf((0.7 + 0.3) / se, df)
    assert beyond.p == pytest.approx(expected)
    back = unpaired_change(candidate, base, margin=0.3)
    assert (back.value, back.p) == (pytest.approx(-0.7), pytest.approx(beyond.p))


def test_estimates_without_any_spread_are_compared_by_value():
    moved = unpaired_change((1.0, 0.0, 6), (1.5, 0.0, 9), margin=0.4)
    assert (moved.changed, moved.same, moved.p, moved.families) == (True, False, None, 6)
    assert unpaired_change((1.0, 0.0, 6), (1.5, 0.0, 9), margin=0.6).same
    one_sided = unpaired_change((1.0, 0.0, 6), (1.5, 0.1, 9), margin=0.4)
    assert one_sided.p == pytest.approx(
        stats.t.sf(3.0, 8) + stats.t.sf(27.0, 8)  # df of the side that varies
    )
