"""Ranks among copies and statements about every seed, under every kind of noise."""

from __future__ import annotations

import numpy as np
import pytest
from planting import DISCRETE, FAR, SKEWED, drawn, errs_at_most, not_above, studies

from refutable.predictions import Measured
from refutable.predictions.equals import Rank
from refutable.predictions.seeds import EachSeed
from refutable.records import Reading, Region, Verdict
from refutable.stats import readings

KINDS = ("normal", *SKEWED, *FAR, *DISCRETE)
SIDES = {Verdict.CONFIRMED: 1, Verdict.REFUTED: -1, Verdict.INCONCLUSIVE: 0}
FIRST_OF_TWENTY = Region(None, 0.0501)
"""What a claim about a rank among 19 copies asks for."""


def beaten(kind: str, copies: int, shift: float = 0.0) -> np.ndarray:
    """Copies that go at least as far as a model that is one more draw, or one `shift` sd beyond."""
    rng = np.random.default_rng([7, copies])
    made = drawn(kind, rng, (studies(2000), copies + 1))
    return (made[:, 1:] >= made[:, :1] + shift).sum(axis=1)


@pytest.mark.parametrize("copies", [5, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_confirms_one_more_draw_rarely_and_refutes_nothing(kind, copies):
    prediction = Rank(FIRST_OF_TWENTY)
    said = np.array([
        SIDES[prediction.judge(Measured((1 + b) / (copies + 1))).decision.verdict]
        for b in range(copies + 1)
    ])  # fmt: skip
    errs_at_most(said[beaten(kind, copies)])
    # With few copies no rank is small enough; a real difference is refuted by none.
    assert (said == 1).any() == (copies >= 19)
    for shift in (1.0, 2.0, 3.0):
        assert not (said[beaten(kind, copies, shift)] == -1).any()


@pytest.mark.parametrize("copies", [5, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_that_is_one_more_draw_of_its_control_is_rarely_informative(kind, copies):
    rng = np.random.default_rng([8, copies])
    made = drawn(kind, rng, (300, copies + 1))
    for region in (Region(0.0, None), Region(None, 0.0), Region(-1.0, 1.0)):
        read = [
            readings.reading_by_rank(numbers[0], list(numbers[1:]), region)[0] for numbers in made
        ]
        # One in twenty by construction, so that a bound of exactly that would fail by chance.
        assert not_above(np.array(read) == Reading.INFORMATIVE, 0.06)


@pytest.mark.parametrize("seeds", [1, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_seed_is_never_confirmed_and_refuted_by_a_seed_outside_alone(kind, seeds):
    """Whatever the noise: a statement about all of them errs in neither direction."""
    rng = np.random.default_rng([9, seeds])
    prediction = EachSeed(Region(None, 1.5), ("kind",))
    for values in drawn(kind, rng, (60, seeds)):
        measured = Measured({"kind": dict(enumerate(values.tolist()))}, error=1e-9)
        verdict = prediction.judge(measured).decision.verdict
        outside = values.max() > 1.5
        assert verdict is (Verdict.REFUTED if outside else Verdict.INCONCLUSIVE)
