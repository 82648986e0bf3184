"""How a claim was refuted, read off the interval that refuted it."""

from __future__ import annotations

import numpy as np
import pytest

from refutable.records import Estimate, How, Region
from refutable.stats import decide
from refutable.stats import estimate as est
from refutable.stats.refuted import how_refuted

ABOVE, BELOW = Region(0.02, None), Region(None, -0.02)


def shown(low, high, **guard):
    return Estimate((low + high) / 2, low, high, **guard)


@pytest.mark.parametrize(
    ("low", "high", "how"),
    [
        (-0.3, -0.1, How.OPPOSITE),
        (-0.03, -0.01, How.OPPOSITE),  # reaches beyond the smallest effect on the other side
        (-0.015, -0.001, How.NEGLIGIBLE),  # of the other sign, but too small to matter
        (-0.015, 0.015, How.NEGLIGIBLE),
        (0.001, 0.019, How.NEGLIGIBLE),
        (-0.05, 0.01, How.SMALLER),  # its sign is open
    ],
)
def test_of_a_region_on_one_side_of_zero_and_its_mirror(low, high, how):
    assert how_refuted(shown(low, high), ABOVE, sesoi=0.02) is how
    assert how_refuted(shown(-high, -low), BELOW, sesoi=0.02) is how
    # The bound is the smallest effect where none is stated.
    assert how_refuted(shown(low, high), ABOVE) is how


def test_heavier_but_less_so_than_asked():
    """Tails that are heavier by .029 where .1 was asked are not the opposite of heavier."""
    assert how_refuted(shown(0.005, 0.053), Region(0.1, None), sesoi=0.01) is How.SMALLER
    assert how_refuted(shown(0.005, 0.053), Region(0.1, None), sesoi=0.1) is How.NEGLIGIBLE


def test_the_guard_counts_as_it_does_for_the_verdict():
    estimate = shown(-0.3, -0.1, check_low=-0.5, check_high=0.01)
    assert how_refuted(estimate, ABOVE, sesoi=0.02) is How.SMALLER


@pytest.mark.parametrize(
    "region", [Region(-0.02, 0.02), Region(0.5, 0.9), Region(None, 0.5), Region(-0.5, None)]
)
def test_a_region_that_is_no_matter_of_sign(region):
    assert how_refuted(shown(2.0, 3.0), region, sesoi=0.02) is How.NOT_AS_STATED


def test_one_case_against_a_statement_about_all():
    assert how_refuted(shown(-1, -1), ABOVE, by_example=True) is How.COUNTEREXAMPLE


def test_it_is_wrong_no_more_often_than_the_verdict():
    """A true effect of .03 where .1 is asked: refuted, and the opposite in no more than 2.5 %."""
    rng = np.random.default_rng(1)
    measured = []
    for _ in range(300):
        values = 0.03 + 0.05 * rng.standard_normal(30)
        estimate = est.family_mean(values, np.arange(30).astype(str), region=Region(0.1, None))
        if decide.decide(estimate, Region(0.1, None)).verdict == "refuted":
            measured.append(how_refuted(estimate, Region(0.1, None), sesoi=0.0))
    assert len(measured) > 250
    assert measured.count(How.OPPOSITE) == 0
    assert measured.count(How.SMALLER) == len(measured)
