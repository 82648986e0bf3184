"""Correlations between and within families."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refutable.records import Region, Verdict
from refutable.stats import core
from refutable.stats import correlation as corr
from refutable.stats.decide import combine, settle
from refutable.stats.estimate import pooled_correlation


def _simpson(families=12, size=8, seed=0):
    """Rising between families, falling within each of them."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(np.linspace(0, 10, families), size)
    inner = rng.normal(size=families * size)
    x = centre + inner
    y = centre - inner + 0.3 * rng.normal(size=families * size)
    return x, y, np.repeat([f"f{i}" for i in range(families)], size)


def test_parts_can_have_opposite_signs_that_pooling_hides():
    x, y, families = _simpson()
    between, within = corr.correlation_parts(x, y, families)
    assert between.value > 0.95
    assert within.value < -0.9
    assert pooled_correlation(x, y).value > 0.5


def test_between_part_is_fisher_z_of_family_means():
    x, y, families = _simpson(families=9, seed=3)
    means = [[v[families == f"f{i}"].mean() for i in range(9)] for v in (x, y)]
    r = stats.pearsonr(*means).statistic
    half = stats.t.ppf(0.975, 7) / np.sqrt(6)
    between, _ = corr.correlation_parts(x, y, families)
    assert between.value == pytest.approx(r)
    expected = np.tanh([np.arctanh(r) - half, np.arctanh(r) + half])
    assert (between.low, between.high) == pytest.approx(tuple(expected))
    assert (between.df, between.clusters) == (7, 9)


def test_within_part_is_t_over_fisher_z_of_families_of_four_or_more():
    rng = np.random.default_rng(5)
    families = np.repeat(list("abcdefg"), [3, 4, 5, 6, 7, 8, 2])
    x = rng.normal(size=families.size)
    y = 0.5 * x + rng.normal(size=families.size)
    z = []
    for name in "bcdef":
        mine = families == name
        r = stats.pearsonr(x[mine], y[mine]).statistic
        z.append(np.arctanh(r) - r / (2 * (mine.sum() - 1)))
    interval = stats.ttest_1samp(z, 0).confidence_interval(0.95)
    _, within = corr.correlation_parts(x, y, families, region=Region(-0.2, None))
    assert within.clusters == 5
    assert within.value == pytest.approx(np.tanh(np.mean(z)))
    assert within.low == pytest.approx(np.tanh(interval.low))
    assert within.high == pytest.approx(np.tanh(interval.high))
    assert within.p == pytest.approx(stats.ttest_1samp(z, np.arctanh(-0.2)).pvalue)


def test_jackknife_matches_a_plain_loop():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 10))
    z = np.arctanh(stats.pearsonr(x, y).statistic)
    pseudo = []
    for i in range(10):
        keep = np.arange(10) != i
        pseudo.append(10 * z - 9 * np.arctanh(stats.pearsonr(x[keep], y[keep]).statistic))
    half = stats.t.ppf(0.975, 8) * np.std(pseudo, ddof=1) / np.sqrt(10)
    low, high = corr.jackknife_limits(x, y)
    assert (float(low), float(high)) == pytest.approx((z - half, z + half))


def test_a_variable_within_the_instruments_error_has_no_correlation():
    x, y, families = _simpson()
    between, within = corr.correlation_parts(x, y, families, error=(100.0, 0.0))
    assert between.value is None
    assert "no more than the instrument's error" in between.note
    assert within.value is None


def test_error_widens_the_interval():
    x, y, families = _simpson()
    plain, _ = corr.correlation_parts(x, y, families)
    wide, _ = corr.correlation_parts(x, y, families, error=(0.05, 0.05))
    means = [core.group_means(v, families)[0].std(ddof=1) for v in (x, y)]
    shift = 0.05 / means[0] + 0.05 / means[1]
    assert wide.low == pytest.approx(plain.low - shift)


def test_exact_relation_is_decided():
    rng = np.random.default_rng(7)
    families = np.repeat([f"f{i}" for i in range(8)], 5)
    x = rng.normal(size=40)
    region = Region(None, -0.2)
    parts = corr.correlation_parts(x, -2 * x, families, region=region)
    _, decision = combine([settle(p, region) for p in parts])
    assert decision.verdict is Verdict.CONFIRMED


def test_pooled_matches_scipy():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(2, 25))
    found = pooled_correlation(x, y)
    interval = stats.pearsonr(x, y).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_not_finite():
    x, y, families = _simpson()
    x[3] = np.nan
    between, within = corr.correlation_parts(x, y, families)
    assert "NaN" in between.note
    assert "NaN" in within.note
