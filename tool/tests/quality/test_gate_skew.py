"""The gate under skew: family-wise false CHANGED over twenty claims, and false SAME."""

from __future__ import annotations

import numpy as np
import pytest
from planting import SKEWED, errs_at_most, not_above, standard

from refutable.stats import core, power
from refutable.stats.multiplicity import holm
from refutable.stats.paired import ALPHA, level_of_change, paired_change

CLAIMS, STUDIES = 20, 500
MARGIN = 0.5


def differences(
    noise: str, families: int, shared: float, *, claims: int = CLAIMS, seed: int = 1
) -> np.ndarray:
    """Paired differences (study, claim, family) of mean 0: claims see the same families."""
    rng = np.random.default_rng([seed, families, claims])
    of_families = standard(noise, rng, (STUDIES, 1, families))
    families_drawn = standard(noise, rng, (STUDIES, claims, families))
    return np.sqrt(shared) * of_families + np.sqrt(1 - shared) * families_drawn


@pytest.mark.parametrize("families", [5, 8, 15, 30, 44])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_any_of_twenty_claims_at_its_margin_alarms_rarely(shared, families):
    """Every claim changed by exactly its margin, skew either way; Holm's first step decides."""
    for noise in ("normal", *SKEWED):
        made = differences(noise, families, shared)
        for side in (1, -1):
            p = level_of_change(core.t_limits(MARGIN + side * made), MARGIN)
            alarms = p.min(axis=-1) * CLAIMS <= ALPHA
            assert not_above(alarms, 0.03 if noise == "normal" else 0.05), (noise, side)


@pytest.mark.parametrize("families", [5, 8, 15, 30, 44])
def test_a_claim_alone_at_its_margin_is_called_neither(families):
    """Wide margins: the other end of the guard is never what keeps it from SAME."""
    wide = 20.0
    for noise in ("normal", *SKEWED):
        made = differences(noise, families, 0.0, claims=4).reshape(-1, families)
        for side in (1, -1):
            limits = core.t_limits(wide + side * made)
            changed = level_of_change(limits, wide) <= ALPHA
            low, high = core.guard_ends(limits)
            same = (low >= -wide) & (high <= wide)
            errs_at_most(changed * 1 - same, 0.03 if noise == "normal" else 0.05)


def test_the_arrays_say_what_the_gate_says_of_single_studies():
    made = MARGIN + differences("gamma 1", 8, 0.5)[:3]
    p = level_of_change(core.t_limits(made), MARGIN)
    singles = [[paired_change(d, margin=MARGIN).p for d in study] for study in made]
    assert p == pytest.approx(np.array(singles))
    for study in p:
        assert any(holm(list(study), level=ALPHA)[1]) == (study.min() * CLAIMS <= ALPHA)


def test_stated_margin_of_sameness_is_met():
    """Of releases that do not differ, 80 % are SAME at the margin that is printed."""
    for families in (8, 30, 44):
        made = differences("normal", families, 0.0).reshape(-1, families)
        margin = power.detectable_margin(families)
        low, high = core.guard_ends(core.t_limits(made))
        same = (low >= -margin) & (high <= margin)
        assert same.mean() == pytest.approx(0.8, abs=0.03)
