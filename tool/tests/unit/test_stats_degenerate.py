"""Data that can decide nothing: few families, no variation, values that are not numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refutable.records import Region, Verdict
from refutable.stats import core
from refutable.stats import correlation as corr
from refutable.stats import estimate as est
from refutable.stats.build import AGREED
from refutable.stats.decide import combine, decide, settle
from refutable.stats.paired import paired_change

SIZES = [4, 5, 6, 7, 4, 5, 6]
FAMILIES = np.repeat([f"f{i}" for i in range(len(SIZES))], SIZES)
numbers = st.floats(-1e6, 1e6)
ABOVE = Region(0.0, None)


def noise(seed, size=FAMILIES.size):
    return np.random.default_rng(seed).normal(size=size)


@given(values=st.lists(numbers, min_size=1, max_size=6), families=st.integers(1, 4))
def test_fewer_than_five_families_decide_nothing(values, families):
    names = [f"f{i % families}" for i in range(len(values))]
    estimate = est.family_mean(np.array(values), names, region=ABOVE)
    assert decide(estimate, ABOVE).verdict is Verdict.INCONCLUSIVE
    if len(set(names)) == 1 and np.ptp(values) > 1e-6 and {*values} != {0.0, 1.0}:
        assert (estimate.low, estimate.high, estimate.p) == (None, None, 1.0)


def test_two_families_have_an_interval_of_one_degree_of_freedom():
    estimate = est.family_mean(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"], region=ABOVE)
    # Family means 2 and 5: sd 3 / sqrt 2, standard error 1.5; the quantile is tan(.475 pi).
    half = np.tan(0.475 * np.pi) * 1.5
    assert (estimate.value, estimate.df) == (3.5, 1)
    assert (estimate.low, estimate.high) == pytest.approx((3.5 - half, 3.5 + half))
    # The root of the one-sided p of Cauchy's distribution.
    assert estimate.p == pytest.approx(np.sqrt(0.5 - np.arctan(3.5 / 1.5) / np.pi))


def test_a_family_weighs_the_same_whatever_its_size():
    names = ["big"] * 997 + ["b", "c"]
    values = np.array([0.0] * 997 + [3.0, 6.0])
    assert est.family_mean(values, names).value == pytest.approx(3.0)
    assert est.share(values > 1, names).value == pytest.approx(2 / 3)


@given(place=st.integers(0, FAMILIES.size - 1), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_value_that_is_no_number_leaves_no_estimate(place, bad):
    values = noise(0)
    values[place] = bad
    made = [
        est.family_mean(values, FAMILIES, region=ABOVE),
        est.two_way(values[:36].reshape(6, 6) if place < 36 else values[1:].reshape(6, 6)),
        est.difference_of_groups(values, noise(1), n=9, region=ABOVE),
        est.difference_of_groups(noise(1), values, n=9, region=ABOVE),
        *corr.correlation_parts(values, noise(1), FAMILIES, region=ABOVE),
        *corr.correlation_parts(noise(1), values, FAMILIES, region=ABOVE),
        est.pooled_correlation(values, noise(1)),
        est.prompts_as_independent(values),
    ]
    for estimate in made:
        assert (estimate.value, estimate.low, estimate.high, estimate.p) == (None, None, None, None)
        assert "1 of " in estimate.note
        assert decide(estimate, ABOVE).reason == estimate.note


@pytest.mark.parametrize(("first", "second"), [(0, 6), (6, 0), (1, 6), (0, 0)])
def test_a_group_of_fewer_than_two_families_has_no_difference(first, second):
    estimate = est.difference_of_groups(
        noise(0, first), noise(1, second), n=6, part="novel - cliche", region=ABOVE
    )
    assert estimate.value is None
    assert estimate.note == "novel - cliche: a group has fewer than two families"


@given(constant=numbers, seed=st.integers(0, 1000), swap=st.booleans())
def test_what_does_not_vary_has_no_correlation_however_its_mean_is_rounded(constant, seed, swap):
    pair = np.full(FAMILIES.size, constant), noise(seed)
    x, y = pair[::-1] if swap else pair
    region = Region(-0.2, 0.2)
    parts = corr.correlation_parts(x, y, FAMILIES, region=region)
    assert [p.value for p in parts] == [None, None]
    assert corr.family_correlations(x, y, FAMILIES) == {}
    assert combine([settle(p, region) for p in parts])[1].verdict is Verdict.INCONCLUSIVE
    pooled = est.pooled_correlation(x, y)
    assert (pooled.value, pooled.note) == (None, "a variable does not vary")


def test_a_family_in_which_nothing_varies_says_nothing_and_spoils_nothing():
    x, y = noise(3), noise(4)
    x[FAMILIES == "f2"] = 0.3
    _, within = corr.correlation_parts(x, y, FAMILIES, region=ABOVE)
    kept = FAMILIES != "f2"
    _, without = corr.correlation_parts(x[kept], y[kept], FAMILIES[kept], region=ABOVE)
    # Its values of y still count for how much y varies, so that r is a little smaller.
    assert abs(within.value) < abs(without.value)
    assert within.clusters == 7


def test_a_correlation_that_hangs_on_one_family_is_not_decided():
    # One family apart in both variables: r is near 1 whatever the others do.
    x = np.repeat([0.0, 0, 0, 0, 0, 0, 50], SIZES)
    y = x + np.repeat(0.01 * noise(3, 7), SIZES)
    x, y = x + 0.001 * noise(5), y + 0.001 * noise(6)
    region = Region(0.2, None)
    between, _ = corr.correlation_parts(x, y, FAMILIES, region=region)
    assert between.value > 0.9
    assert decide(between, region).verdict is Verdict.INCONCLUSIVE


def test_equal_family_means_are_told_from_prompts_that_agree():
    names = np.repeat(list("abcdef"), 2)
    spread = est.family_mean(np.array([0.0, 2.0] * 6), names, region=ABOVE)
    assert spread.method == AGREED
    assert spread.high == pytest.approx(1 + 2 * (1 - 0.025 ** (1 / 6)))
    agreed = est.family_mean(np.full(12, 0.5), names, region=ABOVE)
    assert agreed.high == pytest.approx(0.5 + 0.5 * (1 - 0.025 ** (1 / 6)))


@given(st.lists(numbers, max_size=5), st.sampled_from([np.nan, np.inf, -np.inf]), st.floats(0, 1))
def test_a_change_without_numbers_says_nothing(differences, bad, margin):
    for d in ([], [*differences, bad], [bad, *differences, bad]):
        change = paired_change(d, margin=margin, error=1e-6)
        assert (change.p, change.same, change.changed) == (1.0, False, False)
        assert (change.low, change.high) == (-np.inf, np.inf)
        assert change.families == len(d)


def test_one_block_has_no_slope():
    assert np.isnan(core.slopes(np.ones((3, 1)))).tolist() == [True] * 3
    assert core.slope_error(1, 1e-6) == np.inf


def test_groups_that_agree_may_each_be_off_by_the_error() -> None:
    low, high = np.full(6, 0.2), np.full(6, 0.7)
    small, large = (est.difference_of_groups(low, high, n=12, error=e) for e in (0.01, 0.05))
    assert large.high - small.high == pytest.approx(2 * 0.04)
    assert small.low - large.low == pytest.approx(2 * 0.04)
