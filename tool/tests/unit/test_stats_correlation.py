"""Correlations between and within families."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support import guarded

from refutable.records import Region, Verdict
from refutable.stats import core
from refutable.stats import correlation as corr
from refutable.stats.decide import combine, decide, settle
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


def test_between_part_is_that_of_family_means_without_their_prompts_noise():
    x, y, families = _simpson(families=9, seed=3)
    y += np.repeat([1.0, -3, 2, 0, 3, -2, 1, -1, 2], 8)
    means = [np.array([v[families == f"f{i}"].mean() for i in range(9)]) for v in (x, y)]
    inner = [v - np.repeat(m, 8) for v, m in zip((x, y), means, strict=True)]
    r, within = stats.pearsonr(*means).statistic, stats.pearsonr(*inner).statistic
    noise = [(v**2).sum() / (9 * 7) / 8 / m.var(ddof=1) for v, m in zip(inner, means, strict=True)]
    between, _ = corr.correlation_parts(x, y, families)
    slope = np.sqrt((1 - noise[0]) * (1 - noise[1]))
    assert between.value == pytest.approx((r - np.sqrt(noise[0] * noise[1]) * within) / slope)
    assert (between.df, between.clusters) == (7, 9)


def test_the_interval_between_families_is_the_widest_of_all_readings_of_the_noise():
    rng = np.random.default_rng(4)
    families = np.repeat(np.arange(20).astype(str), 6)
    shared = np.repeat(rng.normal(size=20), 6)
    x, y = (shared + rng.normal(size=120) for _ in range(2))
    between, within = corr.correlation_parts(x, y, families, region=Region(0.0, None))
    means = [core.group_means(v, families)[0] for v in (x, y)]
    z, pseudo = _pseudo(*means)
    se = max(np.std(pseudo, ddof=1) / np.sqrt(20), 1 / np.sqrt(17))
    low, high = np.tanh(z + np.array([-1, 1]) * stats.t.ppf(0.975, 18) * se)
    f = [
        m.var(ddof=1) * 6 / ((v - np.repeat(m, 6)) ** 2).sum() * 100
        for v, m in zip((x, y), means, strict=True)
    ]
    ends = []
    for one in (0.1, 0.9):
        for two in (0.1, 0.9):
            a, b = (stats.f.ppf(q, 19, 100) / g for q, g in zip((one, two), f, strict=True))
            slope, offset = np.sqrt((1 - a) * (1 - b)), np.sqrt(a * b) * within.value
            ends.append(((low - offset) / slope, (high - offset) / slope))
    assert between.low == pytest.approx(min(e[0] for e in ends))
    assert between.high == pytest.approx(min(1.0, max(e[1] for e in ends)))
    assert (decide(between, Region(0.0, None)).verdict is Verdict.CONFIRMED) == (between.p <= 0.05)


def test_within_part_is_a_jackknife_over_pooled_centred_values():
    rng = np.random.default_rng(5)
    sizes = [3, 4, 5, 6, 7, 8, 2, 1]
    families = np.repeat(list("abcdefgh"), sizes)
    x = rng.normal(size=families.size)
    y = 0.5 * x + rng.normal(size=families.size)

    def z(kept):
        pair = [
            np.concatenate([v[families == f] - v[families == f].mean() for f in kept])
            for v in (x, y)
        ]
        return np.arctanh((pair[0] @ pair[1]) / np.sqrt((pair[0] @ pair[0]) * (pair[1] @ pair[1])))

    # The family of one prompt says nothing of what is within families.
    names = list("abcdefg")
    pseudo = np.array([7 * z(names) - 6 * z([n for n in names if n != left]) for left in names])
    _, within = corr.correlation_parts(x, y, families, region=Region(-0.2, None))
    half = stats.t.ppf(0.975, 6) * stats.sem(pseudo)
    assert (within.clusters, within.value) == (7, pytest.approx(np.tanh(z(names))))
    assert within.low == pytest.approx(np.tanh(z(names) - half))
    assert within.high == pytest.approx(np.tanh(z(names) + half))
    distance = np.arctanh(-0.2) - z(names)
    p = guarded.p_of(distance, stats.sem(pseudo), 6, guarded.third(pseudo), 0.98, 0.0)
    assert within.p == pytest.approx(p)
    assert corr.family_correlations(x, y, families) == pytest.approx(
        dict(zip(names, pseudo, strict=True))
    )


def _pseudo(x, y):
    n, z = len(x), np.arctanh(stats.pearsonr(x, y).statistic)
    keep = ~np.eye(n, dtype=bool)
    left = [np.arctanh(stats.pearsonr(x[k], y[k]).statistic) for k in keep]
    return z, n * z - (n - 1) * np.array(left)


def test_one_prompt_a_family_cannot_tell_between_from_within():
    x, y = np.random.default_rng(6).normal(size=(2, 12))
    parts = corr.correlation_parts(x, y + x, np.arange(12).astype(str))
    assert [p.value for p in parts] == [None, None]
    assert "cannot be told" in parts[0].note


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
    x = rng.normal(size=40) + np.repeat(np.arange(8.0), 5)
    region = Region(None, -0.2)
    parts = corr.correlation_parts(x, -2 * x, families, region=region)
    _, decision = combine([settle(p, region) for p in parts])
    assert decision.verdict is Verdict.CONFIRMED


def test_pooled_matches_scipy():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(2, 25))
    estimate = pooled_correlation(x, y)
    interval = stats.pearsonr(x, y).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))


def test_not_finite():
    x, y, families = _simpson()
    x[3] = np.nan
    between, within = corr.correlation_parts(x, y, families)
    assert "NaN" in between.note
    assert "NaN" in within.note
