"""Verdicts: an interval against a region, and everything that forbids one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refutable.records import Decision, Estimate, Reading, Region, Verdict
from refutable.stats import build, decide, readings
from refutable.stats import estimate as est

C, R, I = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE  # noqa: E741


def _estimate(low, high, **changes):
    made = Estimate(
        (low + high) / 2, low, high, method=build.T_FAMILIES, n=40, clusters=8, sd=1.0,
        check_low=low, check_high=high, p=0.01,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("low", "high", "region", "verdict"),
    [
        (0.1, 0.2, Region(0.0, None), C),
        (-0.2, -0.1, Region(0.0, None), R),
        (-0.1, 0.2, Region(0.0, None), I),
        (0.0, 0.2, Region(0.0, None), I),  # touches the open bound
        (-0.2, 0.0, Region(0.0, None), I),
        (-0.2, -0.1, Region(None, 0.0), C),
        (0.1, 0.2, Region(None, 0.0), R),
        (-0.1, 0.1, Region(-0.2, 0.2), C),
        (0.3, 0.4, Region(-0.2, 0.2), R),
        (-0.4, -0.3, Region(-0.2, 0.2), R),
        (-0.3, 0.3, Region(-0.2, 0.2), I),
        (0.1, 0.3, Region(-0.2, 0.2), I),
    ],
)
def test_interval_against_region(low, high, region, verdict):
    assert decide.decide(_estimate(low, high), region).verdict is verdict


def test_a_guard_that_reaches_across_forbids_a_verdict():
    estimate = _estimate(0.1, 0.2, check_low=-0.01, p=0.2)
    settled, decision = decide.settle(estimate, Region(0.0, None))
    assert decision.verdict is I
    assert decision.reason.endswith(
        "the guard that a verdict needs, [-0.01, 0.2], reaches across its edge"
    )
    assert settled.p == 0.2
    few, _ = decide.settle(replace(estimate, clusters=4), Region(0.0, None))
    assert few.p is None


def test_an_open_case_is_not_called_skew_when_the_check_alone_decides():
    decision = decide.decide(_estimate(-0.01, 0.2, check_low=0.01), Region(0.0, None))
    assert decision.verdict is I
    assert "reaches across" in decision.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clusters": 4}, "4 prompt families; a verdict needs 5 or more"),
        ({"seeds": 4}, "4 seeds; a verdict needs 5 or more"),
        ({"value": None, "note": "1 of 9 values are NaN or infinite"}, "NaN or infinite"),
        ({"low": None}, "unbounded"),
    ],
)
def test_too_little_data(changes, reason):
    estimate = replace(_estimate(0.1, 0.2), **changes)
    decision = decide.decide(estimate, Region(0.0, None))
    assert decision.verdict is I
    assert reason in decision.reason


def test_a_fact_needs_no_families_and_is_open_on_its_edge():
    names = list("abcde")
    half = est.family_mean(np.full(5, 0.5), names, error=1e-6)
    one = est.family_mean(np.full(5, 1.0), names, error=1e-6)
    few = est.family_mean(np.full(3, 0.5), ["a"] * 3, error=1e-6)
    exactly = est.exact(1.0)
    below_one = Region(None, 1.0)
    assert decide.decide(half, below_one).verdict is C
    assert decide.decide(one, below_one).verdict is I
    assert decide.decide(few, below_one).verdict is I
    assert decide.decide(exactly, below_one).verdict is I
    for value, reason in (
        (2.0, "does not hold for this checkpoint: [2, 2] lies outside the region below 1"),
        (0.5, "holds for this checkpoint: [0.5, 0.5] lies inside the region below 1"),
        (1.0, "[1, 1] lies on the edge of the region below 1"),
    ):
        assert decide.decide(est.exact(value), below_one, sampled=False).reason == reason


def test_parts_all_confirmed_take_the_largest_p():
    parts = [(_estimate(0.1, 0.2, p=p, part=f"part {p}"), Decision(C, "in")) for p in (0.01, 0.03)]
    estimate, decision = decide.combine(parts)
    assert decision == Decision(C, "part 0.03: in")
    assert estimate.p == 0.03


def test_one_refuted_part_refutes_at_the_divided_level():
    confirmed = (_estimate(0.1, 0.2, part="a"), Decision(C, "in"))
    clear = (_estimate(-0.2, -0.1, p=0.01, part="b"), Decision(R, "out"))
    narrow = (replace(clear[0], p=0.03), Decision(R, "out"))
    estimate, decision = decide.combine([confirmed, clear])
    assert decision.verdict is R
    assert estimate.p == pytest.approx(0.02)
    estimate, decision = decide.combine([confirmed, narrow])
    assert decision.verdict is I
    assert "not as one of 2 parts" in decision.reason


def test_views_of_one_quantity_must_agree():
    refuted = (_estimate(-0.2, -0.1, p=0.001), Decision(R, "out"))
    confirmed = (_estimate(0.1, 0.2), Decision(C, "in"))
    assert decide.combine([refuted, confirmed], agree=True)[1].verdict is I
    assert decide.combine([refuted, refuted], agree=True)[1].verdict is R
    assert decide.combine([confirmed, confirmed], agree=True)[1].verdict is C


def test_an_open_part_leaves_the_whole_open():
    confirmed = (_estimate(0.1, 0.2, p=0.01), Decision(C, "in"))
    unsure = (_estimate(-0.1, 0.2, p=0.4, part="b"), Decision(I, "across"))
    estimate, decision = decide.combine([confirmed, unsure])
    assert decision == Decision(I, "b: across")
    assert estimate.p == 0.4


def test_search_can_only_refute():
    assert decide.universal(-0.1, 0.005, 100).verdict is I
    assert "100 candidates, none found" in decide.universal(-0.1, 0.005, 100).reason
    assert decide.universal(0.005, 0.005, 100).verdict is I
    assert decide.universal(0.006, 0.005, 100).verdict is R
    assert decide.universal(None, 0.005, 0).verdict is I
    assert decide.universal(0.5, 0.005, 100, bad=1).verdict is I


def test_certificate_needs_enough_fresh_draws():
    assert decide.certified(0, 299, share=0.01).verdict is C
    assert decide.certified(0, 298, share=0.01).verdict is I
    assert decide.certified(1, 299, share=0.01).verdict is R


ABOVE = Region(0.02, None)


@pytest.mark.parametrize(
    ("control", "contrast", "region", "reading"),
    [
        ((-0.1, 0.1), (0.05, 0.2), ABOVE, Reading.INFORMATIVE),
        ((0.05, 0.1), (0.05, 0.2), ABOVE, Reading.INFORMATIVE),  # control in it, model far beyond
        ((0.05, 0.1), (-0.01, 0.01), ABOVE, Reading.UNINFORMATIVE),
        ((0.05, 0.1), (-0.3, -0.1), ABOVE, Reading.UNINFORMATIVE),  # wrong way
        ((0.05, 0.1), (-0.01, 0.1), ABOVE, Reading.UNDETERMINED),
        ((-0.1, 0.1), (-0.01, 0.01), ABOVE, Reading.UNDETERMINED),  # control outside as well
        ((-0.2, -0.1), (-0.2, -0.05), Region(None, -0.02), Reading.INFORMATIVE),
        ((-0.2, -0.1), (0.05, 0.2), Region(None, -0.02), Reading.UNINFORMATIVE),
        ((0.3, 0.4), (-0.4, -0.2), Region(-0.1, 0.1), Reading.INFORMATIVE),
        ((-0.05, 0.05), (-0.01, 0.01), Region(-0.1, 0.1), Reading.UNINFORMATIVE),
        ((-0.05, 0.05), (-0.3, 0.01), Region(-0.1, 0.1), Reading.UNDETERMINED),
        ((-0.05, 0.05), (-0.01, 0.3), Region(-0.1, 0.1), Reading.UNDETERMINED),
        ((-0.05, 0.05), (-0.4, -0.2), Region(-0.1, 0.1), Reading.UNDETERMINED),  # both within
        ((0.3, 0.4), (0.2, 0.4), Region(-0.1, 0.1), Reading.INFORMATIVE),
        ((0.05, 0.1), (0.01, 0.05), ABOVE, Reading.UNDETERMINED),  # about the smallest effect
    ],
)
def test_reading_of_a_control(control, contrast, region, reading):
    measured, reason = readings.reading(
        _estimate(*control, seeds=5), _estimate(*contrast, seeds=5), region, sesoi=0.02
    )
    assert measured is reading, reason


def test_reading_needs_five_control_seeds():
    reading, reason = readings.reading(
        _estimate(-0.1, 0.1, seeds=3), _estimate(0.5, 0.6, seeds=3), ABOVE, sesoi=0.02
    )
    assert reading is Reading.UNDETERMINED
    assert "3 seeds" in reason


def test_rank_of_a_fact_among_its_controls():
    region = Region(0.5, None)
    assert readings.reading_by_rank(0.9, [0.1] * 19, region)[0] is Reading.INFORMATIVE
    assert readings.reading_by_rank(0.9, [0.1] * 18, region)[0] is Reading.UNDETERMINED
    assert readings.reading_by_rank(0.9, [0.95] * 19, region)[0] is Reading.UNINFORMATIVE
    assert "0.05" in readings.reading_by_rank(0.9, [0.1] * 19, region)[1]
    # A control that goes exactly as far counts against the model.
    assert readings.reading_by_rank(0.9, [0.9, *[0.1] * 19], region)[0] is Reading.UNDETERMINED
    # Controls count by their distance from the middle of a region of two bounds.
    middle = Region(0.0, 1.0)
    assert readings.reading_by_rank(0.5, [0.1, 0.9] * 10, middle)[0] is Reading.INFORMATIVE
    assert readings.reading_by_rank(0.1, [0.5] * 20, middle)[0] is Reading.UNINFORMATIVE
    assert readings.reading_by_rank(0.1, [float("nan")], middle)[1] == "no finite control"
