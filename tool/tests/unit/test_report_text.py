"""Numbers and texts as reports print them."""

import math
import re

import pytest

from refutable.plugin.junit import properties
from refutable.records import (
    Control,
    Counterexample,
    Estimate,
    Outcome,
    Reading,
    Region,
    Result,
    Verdict,
)
from refutable.report import text
from refutable.report.charts import Line, Scale, number_line, scale_for, strip


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.05, "−0.05"),
        (0.001, "0.001"),
        (3.1e-6, "3.1e−6"),
        (1.23456, "1.23"),
        (355e6, "355,000,000"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_number(value, shown):
    assert text.number(value) == shown


def test_numbers_with_given_decimals_have_no_negative_zero():
    assert text.number(-0.0004, 2) == "0.00"
    assert text.number(-1234.5, 1) == "−1,234.5"


def test_interval_has_two_digits_of_its_half_width():
    assert text.interval(Estimate(-0.0519, -0.168, 0.0712)) == ("−0.052", "[−0.168, 0.071]")
    assert text.interval(Estimate(12.34, 11.0, 13.7)) == ("12.3", "[11.0, 13.7]")
    assert text.interval(Estimate(355e6, 355e6, 355e6)) == ("355,000,000", "")
    assert text.interval(Estimate(0.5, None, 1.0)) == ("0.500", "[−∞, 1.000]")
    assert text.interval(None) == ("–", "")


def test_nothing_is_rounded_into_significance():
    # At two digits the upper end would print as the bound itself.
    below = Region(None, -0.02)
    assert text.interval(Estimate(-0.06, -0.1003, -0.01997), below)[1] == "[−0.10030, −0.01997]"
    # A lower end just above zero must not print as zero.
    assert text.interval(Estimate(0.05, 0.0004, 0.0996))[1] == "[0.0004, 0.0996]"


def test_probability_is_never_zero():
    assert text.probability(0.0) == "p < 0.0001"
    assert text.probability(0.0312) == "p = 0.031"
    assert text.probability(0.5) == "p = 0.50"
    assert text.probability(None) == ""


def test_visible_names_what_cannot_be_seen_and_says_the_full_length():
    assert text.visible("a‮b​c\x00d\ne\tf") == "a‹U+202E›b‹U+200B›c‹U+0000›d↵e⇥f"
    assert text.visible("naïve 漢字 עברית é") == "naïve 漢字 עברית é"
    long = text.visible("x" * 10_240, 100)
    assert long == "x" * 100 + "… [10,240 characters in all]"


def test_markdown_stays_text():
    hostile = "<img src=x> | *b* [a](http://e.x) `c` @someone & www.e.x"
    assert text.markdown(hostile) == (
        "&lt;img src=x&gt; \\| \\*b\\* \\[a\\](http&#58;//e.x) \\`c\\` &#64;someone &amp; "
        "www&#46;e.x"
    )


def test_scale_and_ticks():
    scale = Scale(-1.0, 3.0)
    assert [scale(x) for x in (-1.0, 0.0, 3.0, 99.0)] == [0.0, 25.0, 100.0, 100.0]
    assert scale.ticks == (-1.0, 0.0, 1.0, 2.0, 3.0)
    assert Scale(0.0, 0.9).ticks == pytest.approx((0.0, 0.2, 0.4, 0.6, 0.8))


def test_scale_shows_marks_region_and_near_zero():
    scale = scale_for([Line("a", Estimate(0.5, 0.2, 0.8))], Region(None, 0.9))
    assert scale is not None
    assert scale.low < 0 < scale(0.5) / 100
    assert scale.high > 0.9
    far = scale_for([Line("a", Estimate(100.5, 100.0, 101.0))], Region())
    assert far is not None
    assert far.low > 99
    assert scale_for([Line("a", Estimate(None, None, None))], Region()) is None


def test_number_line_places_estimate_and_region():
    line = Line("a <b>", Estimate(0.5, 0.25, 0.75), state="refuted")
    drawn = str(number_line([line], Region(0.0, 1.0), unit="nats"))
    # The scale reaches 7 % of the span beyond 0 and 1: 0 lies at .07/1.14 of the width.
    zero, half, quarter = (round(100 * (x + 0.07) / 1.14, 2) for x in (0.0, 0.5, 0.25))
    assert f'<rect class="rg" x="{zero}%"' in drawn
    assert f'<use href="#m-refuted" class="estimate refuted" x="{half}%"' in drawn
    assert f'x1="{quarter}%"' in drawn
    assert "<b>" not in drawn
    assert "a &lt;b&gt;" in drawn


def test_strip_has_a_dot_for_each_prompt():
    lines = [
        Line("f", Estimate(0.5, None, None), "family", points=(0.25, 0.75), hollow=0.1),
        Line("g", Estimate(0.2, None, None), "family", points=(0.2, math.nan)),
    ]
    drawn = str(strip(lines, Region()))
    paths = dict(re.findall(r'class="(\w+)" d="([^"]*)"', drawn))
    assert paths["pt"].count("h0") == 3
    assert paths["fm"].count("v14") == 2
    assert paths["ro"].count("h0") == 1
    # The scale reaches 7 % of the span beyond 0 and .75.
    at = round(1000 * (0.5 + 0.07 * 0.75) / (1.14 * 0.75))
    assert f"M{at} 2v14" in paths["fm"]


def test_properties_carry_verdict_estimate_and_control():
    control = Control("untrained", ("m@u",), None, Estimate(0.1, -0.5, 0.5), Reading.UNDETERMINED)
    result = Result(
        "gain.a", "s", "G1", "observational", "m\x00<", "p", "no-bos", Outcome.PASSED,
        Verdict.REFUTED, expected=Verdict.REFUTED,
        estimate=Estimate(0.1 + 0.2, 0.25, None, unit="nats", n=10, clusters=5),
        control=control,
        counterexample=Counterexample("x", 1.0),
    )  # fmt: skip
    measured = dict(properties(result))
    assert measured["refutable.model"] == "m‹U+0000›<"
    assert measured["refutable.verdict"] == "refuted"
    assert measured["refutable.expected"] == "refuted"
    assert float(measured["refutable.estimate"]) == 0.1 + 0.2
    assert measured["refutable.estimate.low"] == "0.25"
    assert "refutable.estimate.high" not in measured
    assert measured["refutable.families"] == "5"
    assert measured["refutable.control.reading"] == "undetermined"
    assert measured["refutable.control.contrast.low"] == "-0.5"
    assert all(isinstance(value, str) for value in measured.values())
    bare = Result("gain.a", "s", "", "", "m", "", "", Outcome.SKIPPED)
    assert properties(bare) == [("refutable.claim", "gain.a"), ("refutable.model", "m")]
