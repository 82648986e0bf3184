"""Hits, counts and values that agree: what the drawn families cannot have shown."""

from __future__ import annotations

import numpy as np
import pytest
from planting import SKEWED, errs_at_most, standard, studies

from refutable.records import Region, Verdict
from refutable.stats import decide
from refutable.stats import estimate as est

STUDIES = 200
SIDES = {Verdict.CONFIRMED: 1, Verdict.REFUTED: -1, Verdict.INCONCLUSIVE: 0}


def judged(values, labels, region):
    estimate = est.family_mean(values, labels, region=region, error=1e-6)
    return SIDES[decide.decide(estimate, region).verdict]


def named(families, size):
    return list(np.repeat(np.arange(families).astype(str), size))


@pytest.mark.parametrize(("families", "size"), [(5, 4), (15, 4), (44, 4)])
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("agreement", [0.2, 1e6])
def test_binary_values_at_the_bound(truth, families, size, agreement):
    """From families that nearly always agree to independent prompts; both sides."""
    rng = np.random.default_rng([1, families, size])
    above, below = [], []
    for _ in range(STUDIES // 2):
        chance = rng.beta(truth * agreement, (1 - truth) * agreement, families)
        hits = (rng.random(families * size) < np.repeat(chance, size)) * 1.0
        above.append(judged(hits, named(families, size), Region(truth, None)))
        below.append(judged(1 - hits, named(families, size), Region(None, 1 - truth)))
    errs_at_most(np.array(above))
    errs_at_most(np.array(below))


TIED = {  # values, their chances
    "three levels": ((0.0, 0.5, 1.0), (0.02, 0.04, 0.94)),
    "one below the top": ((0.8, 1.0), (0.05, 0.95)),
    "differences of hits": ((-1.0, 0.0, 1.0), (0.02, 0.94, 0.04)),
    "rare count": ((0.0, 1.0, 2.0), (0.9, 0.08, 0.02)),
    "no whole number": ((0.2, 0.8), (0.06, 0.94)),
    "constant but for one in fifty": ((0.5, 0.9), (0.98, 0.02)),
}


@pytest.mark.parametrize("families", [5, 8, 15, 44])
@pytest.mark.parametrize("kind", TIED)
def test_tied_values_at_the_bound(kind, families):
    values, chances = map(np.array, TIED[kind])
    truth = float(values @ chances)
    rng = np.random.default_rng([2, families])
    for size, shared in ((4, True), (4, False)):
        said = []
        for _ in range(STUDIES):
            drawn = rng.choice(values, families * (1 if shared else size), p=chances)
            drawn = np.repeat(drawn, size) if shared else drawn
            names = named(families, size)
            estimate = est.family_mean(
                drawn, names, region=Region(truth, None), error=1e-6, differences=kind[0] == "d"
            )
            said.append(SIDES[decide.decide(estimate, Region(truth, None)).verdict])
        errs_at_most(np.array(said))


ZEROS = {"exponential": "gamma 1", "lognormal": "lognormal 1", "normal": "normal"}
"""What the values are that are not zero: positive, of mean 1 (normal: 3)."""


@pytest.mark.parametrize("families", [5, 8, 15, 30, 44])
@pytest.mark.parametrize("zero", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("kind", ZEROS)
def test_values_that_are_mostly_zero_at_the_bound(kind, zero, families):
    """Few families that differ from the rest: t knows their spread, not how many there are."""
    rng = np.random.default_rng([3, families, round(100 * zero)])
    shape, level = (studies(STUDIES), families), 3.0 if kind == "normal" else 1.0
    others = level + standard(ZEROS[kind], rng, shape)
    values = np.where(rng.random(shape) < zero, 0.0, others)
    truth = (1 - zero) * level
    known = values.any(axis=1) | (truth < 1 - 0.025 ** (1 / families))
    errs_at_most(
        np.array([judged(v, named(families, 1), Region(truth, None)) for v in values[known]])
    )


@pytest.mark.parametrize("families", [5, 8, 15, 44])
@pytest.mark.parametrize("noise", ["normal", *SKEWED])
def test_hits_and_rounded_values_made_of_any_noise(noise, families):
    """Hits where noise shared by a family exceeds one sd, and the same noise in whole sd."""
    rng = np.random.default_rng([4, families])

    def noise_of(count):
        shared = np.repeat(standard(noise, rng, (count, families)), 4, axis=1)
        return 0.7 * shared + 0.7 * standard(noise, rng, (count, families * 4))

    many, names = noise_of(100_000 // families), named(families, 4)
    for made in (lambda x: (x > 1.0) * 1.0, np.round):
        truth = float(made(many).mean())
        planted = made(noise_of(studies(STUDIES)))
        errs_at_most(np.array([judged(v, names, Region(truth, None)) for v in planted]))


@pytest.mark.parametrize("values", [[1.0, 1.0], [True, True], [0.5, 0.5], [3, 3]])
def test_two_prompts_that_agree_are_no_fact(values):
    region = Region(0.3, None)
    estimate = est.family_mean(np.array(values), ["a", "a"], region=region)
    assert decide.decide(estimate, region).verdict is Verdict.INCONCLUSIVE


def test_what_never_varies_is_decided_far_from_the_bound_and_open_near_it():
    half, names = np.full(20, 0.5), named(5, 4)
    far, near = Region(None, 1.0), Region(0.4, None)
    assert judged(half, names, far) == 1
    assert judged(half, names, Region(None, 0.2)) == -1
    assert judged(half, names, near) == 0
    ones = np.ones(44)
    assert judged(ones, named(44, 1), Region(0.9, None)) == 1
    assert judged(ones, named(44, 1), Region(0.97, None)) == 0


def test_seeds_and_families_that_agree_count_as_the_fewer():
    table = np.ones((5, 40))
    made = est.two_way(table, region=Region(0.4, None))
    assert made.low == pytest.approx(0.025**0.2, abs=1e-6)
    assert (made.clusters, made.seeds) == (40, 5)
