"""Numbers, intervals and regions read the same wherever they are shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refutable.predictions import mean
from refutable.records import Region
from refutable.report import text
from refutable.stats.decide import within
from refutable.system import wording


@pytest.mark.parametrize(
    ("value", "how", "shown"),
    [
        (0.0664, {}, "0.0664"),
        (-0.051, {}, "-0.051"),
        (0.07, {"sign": True}, "+0.07"),
        (-0.0, {"sign": True}, "0"),
        (-0.0004, {"decimals": 2}, "0.00"),
        (12_345.0, {}, "12,345"),
        (12_345.6, {}, "1.23e4"),
        (1e-6, {}, "1e-6"),
        (2.70805, {"figures": 4}, "2.708"),
        (math.nan, {}, "n/a"),
        (math.inf, {"sign": True}, "n/a"),
        (None, {}, "n/a"),
    ],
)
def test_numbers(value, how, shown):
    assert wording.number(value, **how) == shown


@given(st.floats(-1e12, 1e12, allow_subnormal=False))
def test_a_number_is_what_it_says_to_three_figures_and_has_a_leading_zero(value):
    shown = wording.number(value)
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=5.1e-3)
    assert not shown.lstrip("+-").startswith(".")


def test_intervals():
    assert wording.ends(-0.17, 0.07) == "[-0.17, 0.07]"
    assert wording.ends(-0.17, 0.07, sign=True) == "[-0.17, +0.07]"
    assert wording.ends(None, 2.0) == "[-∞, 2]"
    assert wording.ends(0.5, None) == "[0.5, ∞]"


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (Region(None, -0.02), "below -0.02"),
        (Region(0.02), "above 0.02"),
        (Region(-1.0, 1.0), "between -1 and 1"),
        (Region(2.70805, 3.21888), "between 2.708 and 3.219"),
        (Region(math.nextafter(724, 0), math.nextafter(724, 800)), "around 724"),
        (Region(724.0, 724.0), "equal to 724"),
        (Region(), "anywhere"),
    ],
)
def test_regions(region, said):
    assert wording.region(region) == said
    with_unit = said if said == "anywhere" else f"{said} nats"
    assert wording.region(region, "nats") == with_unit
    assert within(region) == ("the region" if said == "anywhere" else f"the region {said}")


def test_claims_and_reports_use_this_wording():
    assert text.region(Region(None, -0.02), "log ratio") == "below −0.02 log ratio"
    assert mean.below(-0.02).statement == "mean over families below -0.02"
    assert text.number(-0.02) == wording.typographic(wording.number(-0.02)) == "−0.02"
