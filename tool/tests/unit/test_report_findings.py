"""Findings count a claim once; an open result says why; the live line tells how far a run is."""

from __future__ import annotations

import pytest

from refutable.plugin.live import Course
from refutable.records import (
    ClaimReport,
    Estimate,
    Outcome,
    PredictionRecord,
    Result,
    Verdict,
)
from refutable.report.findings import by_study, findings
from refutable.report.reasons import why_open


def result(claim="a", model="m", verdict="confirmed", **more):
    outcome = {"error": Outcome.ERROR, "skipped": Outcome.SKIPPED}.get(verdict, Outcome.PASSED)
    measured = None if verdict in ("error", "skipped") else Verdict(verdict)
    return Result(
        claim, "s", "R1", "observational", model, "p", "no-bos", outcome, measured, **more
    )


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (("confirmed", "confirmed"), "confirmed"),
        (("confirmed", "inconclusive", "error"), "confirmed"),
        (("refuted", "skipped"), "refuted"),
        (("refuted", "inconclusive", "confirmed"), "differs"),
        (("inconclusive", "error"), "inconclusive"),
        (("error", "skipped"), "error"),
        (("skipped",), "skipped"),
    ],
)
def test_a_claim_counts_once_by_what_its_decided_cells_say(verdicts, state):
    results = [result(model=f"m{k}", verdict=v) for k, v in enumerate(verdicts)]
    (measured,) = findings(results)
    assert (measured.claim, measured.state, len(measured.results)) == ("a", state, len(verdicts))
    assert by_study([measured]) == {"s": {state: 1}}


def claim(kind="mean", low=None, high=None):
    record = PredictionRecord(kind, {"low": low, "high": high})
    return ClaimReport("a", "s", "R1", "observational", "", "", "", "", record)


def estimate(value, low, high, check=(None, None), **more):
    given = {"n": 40, "clusters": 8, "method": "t on family means"} | more
    return Estimate(value, low, high, check_low=check[0], check_high=check[1], **given)


@pytest.mark.parametrize(
    ("measured", "kind", "shown"),
    [
        (estimate(0.1, -0.1, 0.3), "interval crosses the bound", "interval crosses 0.02"),
        (
            estimate(0.1, 0.05, 0.15, (0.0, 0.2)),
            "guard crosses the bound",
            "guard [0, 0.2] crosses 0.02",
        ),
        (
            estimate(0.1, 0.05, 0.15, (0.0, 0.151)),
            "guard crosses (skew)",
            "skew data: guard [0, 0.151] crosses 0.02",
        ),
        (
            estimate(0.1, 0.05, 0.15, clusters=3),
            "too few families",
            "3 families of 5 needed",
        ),
        (estimate(0.1, 0.05, 0.15, clusters=1), "too few families", "1 family of 5 needed"),
        (estimate(0.1, 0.05, 0.15, seeds=4), "too few seeds", "4 seeds of 5 needed"),
        (estimate(0.1, None, 0.15), "no interval", "the interval is unbounded"),
        (estimate(0.1, -0.1, 0.3, part="within"), None, "within: interval crosses 0.02"),
        (Estimate(None, None, None, note="2 of 9 values are NaN"), "no value", "2 of 9 values*"),
    ],
)
def test_an_open_result_says_why(measured, kind, shown):
    got, said = why_open(result(verdict="inconclusive", estimate=measured), claim(low=0.02))
    assert kind is None or got == kind
    assert said.startswith(shown.removesuffix("*"))
    assert why_open(result(verdict="refuted", estimate=measured), claim(low=0.02)) == ("", "")


def test_what_only_a_search_or_examples_show_says_so():
    measured = estimate(0.5, 0.5, 0.5, method="fact: value and numerical error", clusters=0)
    for kind, word in (("rank", "not told from the copies"), ("every", "a search cannot confirm")):
        open_ = result(verdict="inconclusive", estimate=measured, reason="told in full")
        assert why_open(open_, claim(kind, high=0.02)) == (word, "told in full")


def test_the_live_line_counts_cells_and_passes_and_says_what_is_left():
    course = Course(cells={f"t[{k}]": "big" if k < 8 else "small" for k in range(10)}, started=0.0)
    assert course.share() == 0.0
    course.model, course.what, course.done, course.of = "big", "measuring control 3 of big", 3, 4
    # Three of four passes over the model of eight cells of ten.
    assert course.share() == pytest.approx(0.6)
    line = course.line(100, now=60.0)
    assert line == "  measuring control 3 of big (4 of 4)  0/10 cells, 1 min 0 s, about 40 s left"
    assert len(course.line(60, now=60.0)) <= 60
    assert "about 40 s left" in course.line(60, now=60.0)
    course.seen = set(course.cells)
    assert course.share() == 1.0
    assert "left" not in course.line(100, now=90.0)
