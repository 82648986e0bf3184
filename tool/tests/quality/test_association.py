"""Planted correlations, shares, orders and trends."""

from __future__ import annotations

import numpy as np
import pytest
from planting import ABOVE_ZERO, not_above, standard
from scipy import stats

from refutable.records import Region
from refutable.stats import core, decide
from refutable.stats import correlation as corr
from refutable.stats import estimate as est


@pytest.mark.parametrize("families", [5, 8, 15, 30])
@pytest.mark.parametrize("rho", [-0.2, 0.2, 0.6])
@pytest.mark.parametrize("noise", ["normal", "t3", "lognormal 0.5"])
def test_between_families_at_the_bound(noise, rho, families):
    rng = np.random.default_rng(1)
    x = standard(noise, rng, (3000, families))
    y = rho * x + np.sqrt(1 - rho**2) * standard(noise, rng, (3000, families))
    limits, check = corr.between_limits(x, y), corr.jackknife_limits(x, y)
    said = decide.agreed(limits.low, limits.high, check, Region(float(core.fisher(rho)), None))
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)


def test_fisher_z_alone_is_wrong_for_heavy_tails():
    """Why a jackknife stands beside Fisher z: t3 noise at correlation .6."""
    rng = np.random.default_rng(2)
    x = standard("t3", rng, (3000, 30))
    y = 0.6 * x + 0.8 * standard("t3", rng, (3000, 30))
    limits = corr.between_limits(x, y)
    said = decide.sides(limits.low, limits.high, Region(float(core.fisher(0.6)), None))
    assert (said > 0).mean() > 0.08


@pytest.mark.parametrize("families", [5, 8, 15, 30])
@pytest.mark.parametrize("noise", ["normal", "t3", "lognormal 0.5"])
def test_within_families_at_the_claims_bound(noise, families):
    rng = np.random.default_rng(3)
    x = standard(noise, rng, (1500, families, 8))
    y = -0.2 * x + np.sqrt(0.96) * standard(noise, rng, (1500, families, 8))
    r = core.pearson(x, y)
    z = core.fisher(r) - r / (2 * 7)
    limits = core.t_limits(z)
    check = core.bootstrap_limits(z, core.resampling_weights(families, seed=1))
    said = decide.agreed(limits.low, limits.high, check, Region(float(core.fisher(-0.2)), None))
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)


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
        found = est.share(hits, list(names), region=region)
        wrong.append(float(decide.sides(np.array(found.low), np.array(found.high), region)))
    assert not_above(np.array(wrong) > 0, 0.025)
    assert not_above(np.array(wrong) < 0, 0.025)


def test_an_order_of_groups_errs_at_most_five_percent_a_side():
    """Three groups of six families, each step exactly on its bound."""
    import xarray as xr

    from refutable.predictions import Measured, ordered
    from refutable.records import Verdict

    rng = np.random.default_rng(5)
    marks = np.repeat(["a", "b", "c"], 6)
    names = np.arange(18).astype(str)
    prediction, found = ordered("a", "b", "c", by=0.1), []
    for i in range(250):
        values = 0.1 * np.repeat([0, 1, 2], 6) + rng.standard_normal(18)
        array = xr.DataArray(
            values, dims="prompt",
            coords={"prompt": names, "family": ("prompt", names), "register": ("prompt", marks)},
        )  # fmt: skip
        judged = prediction.judge(Measured(array, error=0.0, seed=i, unit=""))
        found.append(judged.decision.verdict)
    said = np.array(found)
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
    limits = core.t_limits(slopes)
    check = core.bootstrap_limits(slopes, core.resampling_weights(15, seed=1))
    said = decide.agreed(limits.low, limits.high, check, ABOVE_ZERO)
    assert not_above(said > 0, 0.05)
    assert not_above(said < 0, 0.05)
