"""Planted correlations, shares, orders and trends."""

from __future__ import annotations

import numpy as np
import pytest
from planting import ABOVE_ZERO, SKEWED, decided, errs_at_most, not_above, standard
from scipy import stats

from refutable.records import Region, Verdict
from refutable.stats import core, decide, unmixing
from refutable.stats import correlation as corr
from refutable.stats import estimate as est


def _labels(families, size):
    return list(np.repeat(np.arange(families).astype(str), size))


def _correlated(noise, rng, shape, r):
    x = standard(noise, rng, shape)
    return x, r * x + np.sqrt(1 - r**2) * standard(noise, rng, shape)


def _within(sums, r):
    limits = corr.jackknife_limits(sums, between=False)
    return decided(limits, Region(float(core.fisher(r)), None), guard=corr.GUARD_WITHIN)


def _between(sums, r):
    limits, unmixed = corr.jackknife_limits(sums, between=True), unmixing.unmixing(sums)
    ends = [core.fisher_back(end) for end in core.guard_ends(limits, guard=corr.GUARD_BETWEEN)]
    shown = [core.fisher_back(end) for end in (limits.low, limits.high)]
    return decide.agreed(*unmixed.ends(*shown), unmixed.ends(*ends), Region(r, None))


@pytest.mark.parametrize("families", [5, 8, 15, 44])
@pytest.mark.parametrize("size", [4, 8])
def test_within_families_at_the_bound(size, families):
    for noise in ("normal", *SKEWED):
        for r in (-0.2, 0.2, 0.6):
            rng = np.random.default_rng([1, families, size])
            x, y = _correlated(noise, rng, (800, families * size), r)
            said = _within(unmixing.family_sums(x, y, _labels(families, size)), r)
            errs_at_most(said, 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize("families", [5, 8, 15, 44])
@pytest.mark.parametrize("size", [4, 8])
def test_ties_and_binary_values_within_families(size, families):
    rng = np.random.default_rng([2, families, size])
    shape = (800, families * size)
    levels, others = (rng.integers(0, 3, shape).astype(float) for _ in range(2))
    tied = np.where(rng.random(shape) < 0.5, levels, others)
    errs_at_most(_within(unmixing.family_sums(levels, tied, _labels(families, size)), 0.5))
    hits = (rng.random(shape) < 0.5) * 1.0
    y = hits + rng.standard_normal(shape)
    r = 0.5 / np.sqrt(1.25)
    errs_at_most(_within(unmixing.family_sums(hits, y, _labels(families, size)), r))


@pytest.mark.parametrize("families", [8, 15, 30, 44])
@pytest.mark.parametrize("icc", [0.1, 0.3, 0.6])
def test_what_is_within_families_does_not_leak_between_them(icc, families):
    """Family effects of correlation `between`, prompts of correlation `within`."""
    for noise in ("normal", *SKEWED):
        for between, within in ((0.0, 0.6), (0.6, 0.0), (0.95, 0.0), (-0.5, 0.9)):
            rng = np.random.default_rng([3, families])
            f = _correlated(noise, rng, (600, families), between)
            e = _correlated(noise, rng, (600, families * 8), within)
            x, y = (
                np.sqrt(icc) * np.repeat(a, 8, axis=1) + np.sqrt(1 - icc) * b
                for a, b in zip(f, e, strict=True)
            )
            sums = unmixing.family_sums(x, y, _labels(families, 8))
            said = _between(sums, between)
            errs_at_most(said, 0.03 if noise == "normal" else 0.05)


def test_family_means_that_are_not_corrected_leak():
    """Why the noise is taken off: no correlation between families, .6 within them."""
    rng = np.random.default_rng(4)
    x, y = _correlated("normal", rng, (500, 44 * 8), 0.6)
    sums = unmixing.family_sums(x, y, _labels(44, 8))
    assert core.pearson(*sums.means).mean() > 0.5
    assert not_above(_between(sums, 0.0) > 0, 0.03)


def test_three_tied_families_of_ten_do_not_make_a_correlation():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 40))
    y[:12] = x[:12]
    names = _labels(10, 4)
    _, within = corr.correlation_parts(x, y, names, region=Region(0.5, None))
    a, b = (v - np.repeat(v.reshape(10, 4).mean(1), 4) for v in (x, y))
    assert within.value == pytest.approx(core.pearson(a, b))
    assert decide.decide(within, Region(0.5, None)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("agreement", [0.2, 1.0, 1e6])
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.97])
def test_share_keeps_its_level_whatever_the_agreement_within_families(truth, agreement):
    """From families that nearly always agree (.2) to independent prompts (1e6)."""
    rng = np.random.default_rng(4)
    names = np.repeat(np.arange(10).astype(str), 8)
    region, wrong = Region(truth, None), []
    for _ in range(300):
        chance = rng.beta(truth * agreement, (1 - truth) * agreement, 10)
        hits = rng.random(80) < np.repeat(chance, 8)
        estimate = est.share(hits, list(names), region=region)
        wrong.append(float(decide.sides(np.array(estimate.low), np.array(estimate.high), region)))
    assert not_above(np.array(wrong) > 0, 0.025)
    assert not_above(np.array(wrong) < 0, 0.025)


def test_an_order_of_groups_errs_at_most_five_percent_a_side():
    """Three groups of six families, each step exactly on its bound."""
    import xarray as xr

    from refutable.predictions import Measured, ordered

    rng = np.random.default_rng(5)
    marks = np.repeat(["a", "b", "c"], 6)
    names = np.arange(18).astype(str)
    prediction, measured = ordered("a", "b", "c", by=0.1), []
    for i in range(250):
        values = 0.1 * np.repeat([0, 1, 2], 6) + rng.standard_normal(18)
        array = xr.DataArray(
            values, dims="prompt",
            coords={"prompt": names, "family": ("prompt", names), "register": ("prompt", marks)},
        )  # fmt: skip
        judged = prediction.judge(Measured(array, error=0.0, seed=i, unit=""))
        measured.append(judged.decision.verdict)
    said = np.array(measured)
    assert not_above(said == Verdict.CONFIRMED, 0.05)
    assert not_above(said == Verdict.REFUTED, 0.05)


def test_why_blocks_are_not_a_sample():
    """A rank correlation over 30 blocks of a random walk gives p < .05 in 74 % of cases."""
    rng = np.random.default_rng(6)
    walks = rng.standard_normal((1000, 30)).cumsum(axis=1)
    p = [stats.spearmanr(np.arange(30), walk).pvalue for walk in walks]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.74, abs=0.05)


def test_a_trend_with_families_as_units_keeps_its_level_on_random_walks():
    rng = np.random.default_rng(7)
    walks = rng.standard_normal((1500, 15, 20)).cumsum(axis=-1)
    slopes = core.slopes(walks)
    errs_at_most(decided(core.t_limits(slopes), ABOVE_ZERO), 0.03)
