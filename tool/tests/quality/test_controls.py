"""Readings: a model that is one more draw of its own controls must not be told from them."""

from __future__ import annotations

import numpy as np
import pytest
from planting import ABOVE_ZERO, SKEWED, decided, errs_at_most, standard

from refutable.records import Reading, Region
from refutable.stats import controls, decide, readings
from refutable.stats import estimate as est

STUDIES = 800
SHAPES = [(1, 5), (1, 19), (5, 19), (8, 5), (8, 19)]
"""Training seeds of the model and copies of the control."""
VARIANCES = [(0.0, 1.0), (0.05, 0.02), (1.0, 0.02), (1.0, 1.0)]
"""Of copies, and of families' differences; families differ by 1 besides."""


def plant(noise, draws, copies, families, variances, seed=1):
    rng = np.random.default_rng([seed, draws, copies, families])
    of_copies, of_differences = (np.sqrt(v) for v in variances)
    shared = standard(noise, rng, (STUDIES, 1, families))
    differences = of_differences * standard(noise, rng, (STUDIES, 1, families))

    def drawn(count):
        return (
            shared
            + of_copies * standard(noise, rng, (STUDIES, count, 1))
            + 0.2 * standard(noise, rng, (STUDIES, count, families))
        )

    return differences + drawn(draws), drawn(copies)


@pytest.mark.parametrize("families", [8, 44])
@pytest.mark.parametrize(("draws", "copies"), SHAPES)
def test_another_draw_of_the_control_is_not_told_from_it(draws, copies, families):
    for noise in ("normal", *SKEWED):
        for variances in VARIANCES:
            model, control = plant(noise, draws, copies, families, variances)
            said = decided(controls.control_limits(model, control), ABOVE_ZERO)
            errs_at_most(said, 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize(("draws", "copies"), SHAPES)
def test_the_interval_that_is_shown_covers_for_normal_noise(draws, copies):
    for variances in VARIANCES:
        model, control = plant("normal", draws, copies, 20, variances, seed=2)
        limits = controls.control_limits(model, control)
        errs_at_most(decide.sides(limits.low, limits.high, ABOVE_ZERO), 0.03)


@pytest.mark.parametrize(("draws", "copies"), [(1, 5), (1, 19), (8, 19)])
def test_copies_of_which_some_lie_far_off(draws, copies):
    """One copy in ten eight sd from the others, the model one more draw of them."""
    rng = np.random.default_rng([7, draws, copies])

    def drawn(count):
        far = 8 * ((rng.random((STUDIES, count, 1)) < 0.1) - 0.1)
        levels = rng.standard_normal((STUDIES, count, 1)) + far
        return levels + 0.3 * rng.standard_normal((STUDIES, count, 20))

    errs_at_most(decided(controls.control_limits(drawn(draws), drawn(copies)), ABOVE_ZERO))


def test_more_copies_tell_a_model_apart_that_lies_far_from_its_copies():
    told = {}
    for copies in (5, 19):
        model, control = plant("normal", 1, copies, 20, (1.0, 0.02), seed=3)
        limits = controls.control_limits(model + 5.0, control)
        told[copies] = (decided(limits, ABOVE_ZERO) > 0).mean()
    assert told[19] > 0.5
    assert told[19] > 1.8 * told[5]


def test_why_the_model_is_not_held_for_a_constant():
    """Copies alone as the source of variance: the more of them, the oftener it errs."""
    from refutable.stats import core

    wrong = {}
    for copies in (5, 19):
        model, control = plant("normal", 1, copies, 20, (1.0, 0.02), seed=4)
        limits = core.two_way_limits(model - control)
        wrong[copies] = (decide.sides(limits.low, limits.high, ABOVE_ZERO) != 0).mean()
    assert 0.2 < wrong[5] < wrong[19]


def test_a_reading_at_its_smallest_effect_errs_in_either_direction_at_most_rarely():
    """True difference = smallest effect of interest: neither informative nor uninformative."""
    measured = []
    for draws, copies in ((1, 19), (8, 19)):
        model, control = plant("normal", draws, copies, 20, (0.3, 0.1), seed=5)
        for of_model, of_control in zip(model[:150] + 0.5, control[:150], strict=True):
            contrast = controls.control_contrast(of_model, of_control, n=20)
            alone = est.two_way(of_control + 5.0)
            measured.append(readings.reading(alone, contrast, Region(0.0, None), sesoi=0.5)[0])
    said = np.array(measured)
    errs_at_most((said == Reading.INFORMATIVE) * 1 - (said == Reading.UNINFORMATIVE) * 1, 0.03)


@pytest.mark.parametrize("copies", [5, 19])
def test_numbers_without_families(copies):
    for noise in ("normal", *SKEWED):
        rng = np.random.default_rng([6, copies])
        for draws in (1, 5, 8):
            numbers = standard(noise, rng, (STUDIES, draws))
            limits = controls.number_limits(numbers, standard(noise, rng, (STUDIES, copies)))
            errs_at_most(decided(limits, ABOVE_ZERO), 0.03 if noise == "normal" else 0.05)


@pytest.mark.parametrize(("draws", "copies"), [(1, 5), (1, 19), (5, 5), (8, 19)])
def test_levels_of_two_kinds_that_all_families_share(draws, copies):
    """A hit or a miss throughout: a single model beside five copies that agree tells nothing."""
    rng = np.random.default_rng([8, draws, copies])
    for share in (0.05, 0.17, 0.3):
        wrong = []
        for _ in range(STUDIES):
            drawn = (rng.random(draws + copies) < share) * 1.0
            of_model, of_control = np.split(np.repeat(drawn[:, None], 6, axis=1), [draws])
            contrast = controls.control_contrast(of_model, of_control, n=6)
            numbers = controls.numbers_contrast(of_model[:, 0], of_control[:, 0])
            wrong.append([decide.decide(e, ABOVE_ZERO).verdict.value for e in (contrast, numbers)])
        for said in np.array(wrong).T:
            errs_at_most((said == "confirmed") * 1 - (said == "refuted") * 1)
