"""Intervals follow the data when it is rescaled, shifted, mirrored or put in another order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from support import guarded

from refutable.records import Region
from refutable.stats import core
from refutable.stats import correlation as corr
from refutable.stats import estimate as est
from refutable.stats.multiplicity import holm
from refutable.stats.paired import paired_change

seeds = st.integers(0, 2**32 - 1)
# What a float32 observable can hold, squares included.
scales = st.integers(-30, 30).map(lambda power: 10.0**power)
sizes = st.lists(st.integers(1, 6), min_size=2, max_size=8)
"""Prompts of each family."""


def drawn(seed, sizes):
    """Values with a spread between and within families, and the family of each."""
    rng = np.random.default_rng(seed)
    families = np.repeat([f"f{i}" for i in range(len(sizes))], sizes)
    centre = np.repeat(rng.normal(size=len(sizes)), sizes)
    return centre + 0.5 * rng.normal(size=families.size), families


def ends(estimate):
    return np.array([estimate.value, estimate.low, estimate.high])


def close(measured, expected, size):
    np.testing.assert_allclose(measured, expected, rtol=1e-9, atol=1e-9 * size)


@given(seed=seeds, sizes=sizes, a=scales, b=st.floats(-100, 100))
def test_a_mean_and_its_check_are_rescaled_and_shifted(seed, sizes, a, b):
    values, families = drawn(seed, sizes)
    plain = est.family_mean(values, families, region=Region(0.3, 0.7))
    moved = est.family_mean(a * (values + b), families, region=Region(a * (0.3 + b), a * (0.7 + b)))
    size = a * (abs(b) + 1)
    close(ends(moved), a * (ends(plain) + b), 10 * size)
    check = np.array([plain.check_low, plain.check_high])
    # A resample of equal families has no error of its own: its ratio is a mere sign, times 1e6.
    if np.abs(check).max() < 1e3:
        close([moved.check_low, moved.check_high], a * (check + b), 1e3 * size)
    assert moved.p == pytest.approx(plain.p, rel=1e-6)
    assert (moved.clusters, moved.n, moved.df) == (len(sizes), sum(sizes), len(sizes) - 1)


@given(seed=seeds, sizes=sizes, order=st.randoms(use_true_random=False))
def test_prompts_in_another_order_and_families_of_another_name_say_the_same(seed, sizes, order):
    values, families = drawn(seed, sizes)
    permuted = list(range(values.size))
    order.shuffle(permuted)
    renamed = np.array([f"other {name}" for name in families])
    region = Region(0.2, None)
    one = est.family_mean(values, families, region=region)
    two = est.family_mean(values[permuted], renamed[permuted], region=region)
    close([*ends(one), one.p, one.sd], [*ends(two), two.p, two.sd], 10)
    share = [est.share(v > 0, f, region=region) for v, f in ((values, families),
             (values[permuted], renamed[permuted]))]  # fmt: skip
    close(ends(share[0]), ends(share[1]), 1)


@given(seed=seeds, a=scales, sizes=st.tuples(st.integers(2, 7), st.integers(2, 7)))
def test_swapped_groups_mirror_the_difference(seed, a, sizes):
    rng = np.random.default_rng(seed)
    first, second = (a * rng.normal(size=n) * (i + 1) for i, n in enumerate(sizes))
    one = est.difference_of_groups(first, second, n=9, region=Region(0.5 * a, None))
    two = est.difference_of_groups(second, first, n=9, region=Region(None, -0.5 * a))
    close(ends(one), -ends(two)[[0, 2, 1]], 100 * a)
    assert one.p == pytest.approx(two.p)
    assert one.df == pytest.approx(stats.ttest_ind(first, second, equal_var=False).df)
    assert (one.clusters, two.clusters) == (min(sizes), min(sizes))


def mean_squares(table):
    """Mean squares of rows, columns and rest of a table, summed up cell by cell."""
    s, f = table.shape
    grand = table.mean()
    rows = sum(f * (table[i].mean() - grand) ** 2 for i in range(s)) / (s - 1)
    columns = sum(s * (table[:, j].mean() - grand) ** 2 for j in range(f)) / (f - 1)
    rest = sum(
        (table[i, j] - table[i].mean() - table[:, j].mean() + grand) ** 2
        for i in range(s)
        for j in range(f)
    )
    return rows, columns, rest / ((s - 1) * (f - 1))


@given(seed=seeds, s=st.integers(2, 6), f=st.integers(2, 6), a=scales)
def test_two_way_interval_is_that_of_the_mean_squares(seed, s, f, a):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(s, 1)) + rng.normal(size=(1, f)) + rng.normal(size=(s, f))
    rows, columns, rest = (square / (s * f) for square in mean_squares(table))
    limits = core.two_way_limits(a * table)
    turned = core.two_way_limits(a * table.T)
    variance = rows + columns - rest
    spread = rows**2 / (s - 1) + columns**2 / (f - 1) + rest**2 / ((s - 1) * (f - 1))
    df = variance**2 / spread
    if variance <= max(rows, columns):
        variance, df = max(rows, columns), s - 1 if rows >= columns else f - 1
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    expected = [table.mean(), np.sqrt(variance), table.mean() - half, table.mean() + half]
    close(np.array([limits.value, limits.se, limits.low, limits.high]) / a, expected, 100)
    assert float(limits.df) == pytest.approx(df)
    for one, other in zip(limits, turned, strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-6, abs=1e-9 * a)


def test_guard_of_a_table_adds_the_third_moments_of_both_its_ways():
    table = np.random.default_rng(11).gamma(0.5, size=(6, 8))
    limits = core.two_way_limits(table)
    cumulant = guarded.third(table.mean(axis=1)) + guarded.third(table.mean(axis=0))
    seed, family = (table.mean(axis=a).var(ddof=1) / n for a, n in ((1, 6), (0, 8)))
    df = min(float(limits.df), (seed + family) / (seed / 5 + family / 7))
    expected = guarded.guard(float(limits.value), float(limits.se), df, cumulant)
    assert [float(end) for end in core.guard_ends(limits)] == pytest.approx(expected)


@given(seed=seeds, a=scales, c=scales, b=st.floats(-100, 100))
def test_correlations_know_no_scale_and_mirror_with_one_sign(seed, a, c, b):
    families = np.repeat([f"f{i}" for i in range(7)], [4, 5, 6, 4, 7, 4, 3])
    rng = np.random.default_rng(seed)
    shared = 3 * rng.normal(size=7)[np.unique(families, return_inverse=True)[1]]
    x, y = shared + rng.normal(size=(2, families.size))
    plain = [*corr.correlation_parts(x, y, families), est.pooled_correlation(x, y)]
    moved = [*corr.correlation_parts(a * (x + b), c * y - c, families),
             est.pooled_correlation(a * (x + b), c * y - c)]  # fmt: skip
    turned = [*corr.correlation_parts(-a * x, c * y, families), est.pooled_correlation(-x, y)]
    assume(plain[0].value is not None)  # noise may hide what lies between seven families
    for one, two, three in zip(plain, moved, turned, strict=True):
        close(ends(one), ends(two), 100)
        close(ends(one), -ends(three)[[0, 2, 1]], 1)
    assert [p.clusters for p in plain[:2]] == [7, 7]


def test_correlation_over_the_last_axis_is_that_of_each_row():
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(2, 3, 4, 9)) + 5
    correlation = core.pearson(x, y)
    assert correlation.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        assert correlation[i, j] == pytest.approx(stats.pearsonr(x[i, j], y[i, j]).statistic)


@given(seed=seeds, n=st.integers(2, 30), a=scales, margin=st.floats(0, 2), shift=st.floats(-3, 3))
def test_a_change_is_mirrored_and_rescaled_and_never_both(seed, n, a, margin, shift):
    d = shift + np.random.default_rng(seed).normal(size=n)
    change = paired_change(d, margin=margin)
    mirrored = paired_change(-a * d, margin=a * margin)
    assert mirrored.p == pytest.approx(change.p, rel=1e-6)
    assert mirrored.low == pytest.approx(-a * change.high)
    assert mirrored.high == pytest.approx(-a * change.low)
    assert not (change.same and change.changed)
    # Wider margins turn a change into none, and never the other way round.
    wider = paired_change(d, margin=margin + 0.5)
    assert wider.p >= change.p - 1e-12
    assert wider.same or not change.same


@given(seed=seeds, sizes=sizes, bound=st.floats(-3, 3))
def test_p_and_the_interval_agree_about_a_bound(seed, sizes, bound):
    values, families = drawn(seed, sizes)
    estimate = est.family_mean(values, families, region=Region(bound, None))
    assume(abs(estimate.p - 0.05) > 1e-9)
    clear = estimate.check_low > bound or estimate.check_high < bound
    assert clear == (estimate.p < 0.05)


@given(hits=st.lists(st.booleans(), min_size=1, max_size=20), families=st.integers(1, 6))
def test_a_share_and_its_complement_mirror_each_other(hits, families):
    array, names = np.array(hits), [str(i % families) for i in range(len(hits))]
    estimate = est.share(array, names, region=Region(0.3, None))
    other = est.share(~array, names, region=Region(None, 0.7))
    close(ends(estimate), 1 - ends(other)[[0, 2, 1]], 1)
    assert estimate.p == pytest.approx(other.p)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@given(ps=st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=12), order=st.randoms())
def test_holm_does_not_depend_on_the_order_and_is_at_most_bonferroni(ps, order):
    permuted = list(range(len(ps)))
    order.shuffle(permuted)
    adjusted, survives = holm(ps)
    again, _ = holm([ps[i] for i in permuted])
    for place, value in zip(permuted, again, strict=True):
        assert value == (adjusted[place] if value is None else pytest.approx(adjusted[place]))
    for p, value, survived in zip(ps, adjusted, survives, strict=True):
        if p is None:
            assert (value, survived) == (None, None)
        else:
            assert p <= value <= min(1.0, p * len(ps)) + 1e-12
            assert survived == (value <= 0.05)
