"""Estimates against hand-computed numbers, scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support import guarded

from refutable.records import Region
from refutable.stats import build, core
from refutable.stats import estimate as est

FAMILIES = ["a", "a", "a", "b", "b", "c", "c", "c", "c", "d", "e", "e"]


def test_family_mean_weighs_families_equally_and_matches_scipy():
    values = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 0.0, 1.0, 2.0, 5.0, 7.0, 1.0, 3.0])
    means = [2.0, 5.0, 2.0, 7.0, 2.0]  # by hand, family by family
    estimate = est.family_mean(values, FAMILIES, region=Region(1.0, None))
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert estimate.value == pytest.approx(3.6)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert estimate.p == pytest.approx(guarded.of_mean(means, 1.0), rel=1e-6)
    assert (estimate.n, estimate.clusters, estimate.df) == (12, 5, 4)
    assert estimate.sd == pytest.approx(np.std(means, ddof=1))


def test_interval_and_p_are_widened_by_the_instruments_error():
    values = np.array([0.30, 0.42, 0.55, 0.61, 0.37, 0.48])
    names = list("abcdef")
    plain = est.family_mean(values, names, region=Region(0.2, None))
    wide = est.family_mean(values, names, error=0.1, region=Region(0.2, None))
    assert wide.low == pytest.approx(plain.low - 0.1)
    assert wide.high == pytest.approx(plain.high + 0.1)
    # A bound of .2 seen with an error of .1 is as near as a bound of .3 seen without.
    assert wide.p == pytest.approx(guarded.of_mean(values, 0.3), rel=1e-6)
    assert wide.check_low == pytest.approx(plain.check_low - 0.1)


@pytest.mark.parametrize(
    ("region", "bound"),
    [
        (Region(None, 0.9), 0.9),
        (Region(0.2, 0.9), 0.2),  # within: the nearer bound decides
        (Region(0.6, None), 0.6),  # outside: the violated bound
        (Region(0.6, 0.9), 0.6),
        (Region(-0.5, 0.1), 0.1),
    ],
)
def test_p_is_the_level_at_which_the_interval_touches_the_deciding_bound(region, bound):
    values = np.array([0.30, 0.42, 0.55, 0.61, 0.37, 0.48])
    estimate = est.family_mean(values, list("abcdef"), region=region)
    assert estimate.p == pytest.approx(guarded.of_mean(values, bound), rel=1e-6)
    # It is never below that of the plain t test.
    assert estimate.p >= stats.ttest_1samp(values, bound).pvalue


@pytest.mark.parametrize("sign", [1, -1])
def test_the_guard_is_the_bent_interval_of_a_higher_level(sign):
    units = sign * np.array([0.1, 0.9, 0.4, 2.5, 0.3, 0.2])
    limits = core.t_limits(units)
    low, high = core.guard_ends(limits)
    expected = guarded.guard(units.mean(), stats.sem(units), 5, guarded.third(units))
    assert (float(low), float(high)) == pytest.approx(expected)
    # The end on the side of the tail lies further off, the other one where t has it.
    t = stats.t.ppf(0.9975, 5) * stats.sem(units)
    near, far = sorted((units.mean() - low, high - units.mean()))
    assert (near, far > near) == (pytest.approx(t), True)
    assert (far == high - units.mean()) == (sign > 0)


def test_many_studies_at_once_give_what_single_studies_give():
    units = np.random.default_rng(0).gamma(1.0, size=(7, 8))
    low, high = core.guard_ends(core.t_limits(units))
    single = [core.guard_ends(core.t_limits(u)) for u in units]
    assert low == pytest.approx([float(s[0]) for s in single])
    assert high == pytest.approx([float(s[1]) for s in single])


def test_where_every_prompt_agrees_as_many_families_can_hide_another_value():
    estimate = est.family_mean(
        np.full(8, 0.5), list("aabbccdd"), error=1e-5, region=Region(None, 0.9)
    )
    assert estimate.method == build.AGREED
    hidden = stats.binomtest(0, 4).proportion_ci(0.95, method="exact").high
    assert estimate.high == pytest.approx(0.5 + 1e-5 + 0.5 * hidden)
    assert estimate.low == pytest.approx(0.5 - 1e-5 - 0.5 * hidden)
    # Four families that all miss a share of 0.8 or more, which would move the mean by 0.4.
    assert estimate.p == pytest.approx(2 * 0.2**4, rel=1e-3)
    spread = est.family_mean(np.array([0.5, 0.6, 0.5, 0.6]), ["a", "a", "b", "b"], error=1e-5)
    assert spread.method == build.AGREED  # the prompts differ, the families do not
    assert spread.high == pytest.approx(0.55 + 1e-5 + 0.1 * (1 - 0.025**0.5))
    assert est.family_mean(np.array([0.5, 0.6]), ["a", "b"]).method == build.T_FAMILIES


def test_hits_and_misses_are_a_share_and_differences_of_them_are_not():
    hits, names = np.array([1.0, 0, 1, 1, 1, 1, 0, 1]), list("abcdefgh")
    estimate = est.family_mean(hits, names, region=Region(0.5, None), unit="accuracy")
    expected = est.share(hits > 0, names, region=Region(0.5, None), unit="accuracy")
    assert estimate == expected
    assert est.family_mean(hits, names, differences=True).method == build.T_FAMILIES


def test_one_prompt_shows_no_spread_and_is_no_fact():
    assert est.family_mean(np.array([0.5]), ["a"], error=1e-5).method == build.T_FAMILIES


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_leave_no_estimate(bad):
    estimate = est.family_mean(np.array([1.0, bad, 2.0]), list("abc"))
    assert estimate.value is None
    assert estimate.note == "1 of 3 values are NaN or infinite"


def test_welch_matches_scipy():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 6), rng.normal(1, 3, 9)
    estimate = est.difference_of_groups(first, second, n=75, region=Region(0.1, None))
    test = stats.ttest_ind(second, first, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    cumulant = guarded.third(second) - guarded.third(first)
    se = np.hypot(stats.sem(first), stats.sem(second))
    assert estimate.p == pytest.approx(guarded.p_of(0.1 - estimate.value, se, test.df, cumulant))
    guard = guarded.guard(estimate.value, se, test.df, cumulant)
    assert (estimate.check_low, estimate.check_high) == pytest.approx(guard)
    assert estimate.clusters == 6
    # The spread of one family mean, both groups counting the same.
    assert estimate.sd == pytest.approx(
        np.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    )


def test_a_difference_has_the_error_of_both_its_sides():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 6), rng.normal(1, 3, 9)
    plain = est.difference_of_groups(first, second, n=75)
    wide = est.difference_of_groups(first, second, n=75, error=0.05, region=Region(0.1, None))
    for end, by in (("low", -0.1), ("high", 0.1), ("check_low", -0.1), ("check_high", 0.1)):
        assert getattr(wide, end) == pytest.approx(getattr(plain, end) + by)
    shifted = est.difference_of_groups(first, second, n=75, region=Region(0.2, None))
    assert wide.p == pytest.approx(shifted.p)


def test_two_way_interval_by_hand():
    # Row means 2, 4, 6; column means 3, 5: no interaction but for the last cell pair.
    table = np.array([[1.0, 3.0], [3.0, 5.0], [4.0, 8.0]])
    value = 4.0
    rows, columns = np.array([-2.0, 0.0, 2.0]), np.array([-4.0, 4.0]) / 3
    rest = table - value - rows[:, None] - columns[None, :]
    seed = 2 * (rows**2).sum() / 2 / 6  # mean square over (seeds x families)
    family = 3 * (columns**2).sum() / 1 / 6
    residual = (rest**2).sum() / 2 / 6
    variance = seed + family - residual
    assert variance > max(seed, family)
    df = variance**2 / (seed**2 / 2 + family**2 / 1 + residual**2 / 2)
    limits = core.two_way_limits(table)
    assert float(limits.value) == pytest.approx(value)
    assert float(limits.se) == pytest.approx(np.sqrt(variance))
    assert float(limits.df) == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert float(limits.high) == pytest.approx(value + half)


def test_two_way_variance_is_at_least_the_larger_component():
    rng = np.random.default_rng(4)
    table = rng.normal(size=(6, 10))
    table -= table.mean(axis=1, keepdims=True)  # seeds do not differ at all
    limits = core.two_way_limits(table)
    alone = core.t_limits(table.mean(axis=0))
    assert float(limits.se) == pytest.approx(float(alone.se))
    assert float(limits.df) == 9


def test_two_way_is_widened_by_the_error_and_knows_facts():
    rng = np.random.default_rng(5)
    table = rng.normal(size=(5, 7))
    plain = est.two_way(table, n=35)
    wide = est.two_way(table, n=35, error=0.25)
    assert (wide.low, wide.high) == pytest.approx((plain.low - 0.25, plain.high + 0.25))
    assert wide.check_low == pytest.approx(plain.check_low - 0.25)
    assert (wide.n, wide.clusters, wide.seeds) == (35, 7, 5)
    assert wide.sd == pytest.approx(table.mean(axis=1).std(ddof=1))
    spread = table.std(ddof=1)
    assert est.two_way(table, error=0.99 * spread).method == build.TWO_WAY
    agreed = est.two_way(table, n=35, error=1.01 * spread, part="a - b")
    # It holds every cell, however far it lies from the mean, and what five seeds can hide.
    assert (agreed.method, agreed.seeds, agreed.part) == (build.AGREED, 5, "a - b")
    hidden = (1 - 0.025**0.2) * abs(agreed.value)
    assert agreed.high - agreed.value == pytest.approx(
        max(np.abs(table - table.mean()).max(), 1.01 * spread) + hidden
    )
    table[2, 3] = np.nan
    lost = est.two_way(table, n=35, unit="nats")
    assert (lost.value, lost.n, lost.clusters, lost.unit) == (None, 35, 7, "nats")
    assert lost.note == "1 of 35 values are NaN or infinite"


def test_two_rows_or_two_columns_are_enough_for_an_interval():
    table = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 3.0]])
    for estimate in (est.two_way(table), est.two_way(table.T)):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.check_low is not None
    for estimate in (est.two_way(table[:1]), est.two_way(table[:, :1])):
        assert (estimate.low, estimate.check_low) == (None, None)


def test_share_is_clopper_pearson_over_families():
    hits = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1], dtype=bool)
    names = [f for f in "abcdef" for _ in range(2)]
    estimate = est.share(hits, names, region=Region(0.5, None))
    # Family shares 1, 1, .5, 1, .5, 1: five successes in six draws.
    interval = stats.binomtest(5, 6).proportion_ci(0.95, method="exact")
    assert estimate.value == pytest.approx(5 / 6)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert estimate.p == pytest.approx(2 * stats.binom.sf(4, 6, 0.5))


def test_share_without_a_miss_keeps_an_interval():
    estimate = est.share(np.ones(12, dtype=bool), [f for f in "abcdef" for _ in range(2)])
    assert estimate.value == 1
    assert estimate.high == 1
    assert estimate.low == pytest.approx(0.025 ** (1 / 6))


def test_p_of_a_share_on_either_side_of_a_bound():
    names = [f for f in "abcdef" for _ in range(2)]
    few = np.array([1, 1] + [0] * 10, dtype=bool)
    below = est.share(few, names, region=Region(None, 0.5))
    assert below.p == pytest.approx(2 * stats.binom.cdf(1, 6, 0.5))
    assert est.share(few, names, region=Region(0.5, None)).p == below.p
    half = est.share(np.array([1, 0] * 6, dtype=bool), names, region=Region(0.5, None))
    assert half.p == 1.0
    # Families of shares 1 and 0: their spread is that of a coin with one head in six.
    assert below.sd == pytest.approx(np.std([1, 0, 0, 0, 0, 0], ddof=1))
    never = est.share(np.zeros(12, dtype=bool), names)
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(1 - 0.025 ** (1 / 6))


def test_slope_and_its_error():
    values = np.array([[0.0, 1.0, 4.0], [3.0, 2.0, 1.0]])
    assert core.slopes(values) == pytest.approx([2.0, -1.0])
    # Moving the ends by the error in opposite directions tilts the line the most.
    assert core.slope_error(3, 0.1) == pytest.approx(0.1)
    assert core.slopes(np.array([-0.1, 0.0, 0.1])) == pytest.approx(0.1)


def test_prompts_as_independent_ignores_families():
    values = np.array([0.1, 0.4, 0.2, 0.7])
    estimate = est.prompts_as_independent(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert (estimate.n, estimate.clusters) == (4, 4)
    assert estimate.sd == pytest.approx(values.std(ddof=1))


def test_exact_is_value_and_error():
    estimate = est.exact(124.0, 0.5)
    assert (estimate.value, estimate.low, estimate.high, estimate.p) == (124.0, 123.5, 124.5, None)
    assert est.exact(float("nan")).value is None
