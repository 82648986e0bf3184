"""Claims about training: seeds and families are both random, and either alone decides wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from planting import ABOVE_ZERO, SKEWED, decided, errs_at_most, not_above, standard, studies

from refutable.stats import core, decide, power

PARTS = {  # variance of seeds, of families, of the rest
    "both": (1.0, 1.0, 1.0),
    "seeds": (1.0, 0.1, 0.1),
    "families": (0.1, 1.0, 0.1),
    "rest": (0.0, 0.0, 1.0),
}


def _tables(noise, parts, shape, studies, seed):
    rng = np.random.default_rng(seed)
    seeds, families = shape
    by_seed, by_family, rest = (np.sqrt(v) for v in PARTS[parts])
    return (
        by_seed * standard(noise, rng, (studies, seeds, 1))
        + by_family * standard(noise, rng, (studies, 1, families))
        + rest * standard(noise, rng, (studies, seeds, families))
    )


def _verdicts(tables):
    return decided(core.two_way_limits(tables), ABOVE_ZERO)


@pytest.mark.parametrize("shape", [(5, 8), (5, 44), (8, 44)])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("noise", ["normal", *SKEWED])
def test_at_most_five_percent_a_side(noise, parts, shape):
    said = _verdicts(_tables(noise, parts, shape, 1000, seed=1))
    errs_at_most(said, 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize("shape", [(5, 8), (5, 44), (8, 44)])
def test_a_training_run_that_got_stuck(shape):
    """One seed in ten lies eight sd off: some studies hold one, many none."""
    rng = np.random.default_rng([6, *shape])
    seeds, families = shape
    count = studies(1500)
    stuck = 8 * ((rng.random((count, seeds, 1)) < 0.1) - 0.1)
    tables = rng.standard_normal((count, seeds, 1)) + stuck
    tables = tables + 0.5 * rng.standard_normal((count, 1, families))
    errs_at_most(_verdicts(tables + 0.3 * rng.standard_normal((count, *shape))))


def test_two_way_interval_alone_nearly_keeps_its_level_for_normal_noise():
    """Satterthwaite's df are an approximation: 3 % a side where 2.5 are nominal."""
    for parts in PARTS:
        tables = _tables("normal", parts, (8, 30), 4000, seed=2)
        limits = core.two_way_limits(tables)
        said = decide.sides(limits.low, limits.high, ABOVE_ZERO)
        assert not_above(said > 0, 0.03)
        assert not_above(said < 0, 0.03)


def _wrong(units):
    limits = core.t_limits(units)
    return float((decide.sides(limits.low, limits.high, ABOVE_ZERO) != 0).mean())


def test_seeds_alone_or_families_alone_decide_wrongly():
    """Between 31 and 80 % of studies whose other unit varies are decided wrongly."""
    by_seed = _tables("normal", "seeds", (5, 8), 3000, seed=3)
    by_family = _tables("normal", "families", (5, 8), 3000, seed=3)
    assert 0.31 <= _wrong(by_seed.mean(axis=-2)) <= 0.80  # families as the only units
    assert 0.31 <= _wrong(by_family.mean(axis=-1)) <= 0.80  # seeds as the only units
    many = _tables("normal", "seeds", (5, 30), 3000, seed=4)
    assert 0.60 <= _wrong(many.mean(axis=-2)) <= 0.80


@pytest.mark.parametrize("seeds", [5, 8])
def test_stated_detectable_effect_where_seeds_are_all_that_varies(seeds):
    """Each number that is printed is met by the rule that decides, within three points."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((4000, seeds, 1)) + 1e-6 * rng.standard_normal((4000, seeds, 12))
    for stated in (0.5, 0.8, 0.95):
        effect = power.detectable_effect(seeds, power=stated)
        assert (_verdicts(effect + noise) > 0).mean() == pytest.approx(stated, abs=0.03)
