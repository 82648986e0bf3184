"""Recorded verdicts: what passes, what warns, what fails."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from refutable.errors import EvidenceError
from refutable.evidence import baseline
from refutable.evidence.drift import OF_INTERVAL, OF_VALUE, Recorded, drift
from refutable.records import Estimate, Outcome, Result, Verdict

C, R, U = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE


def result(
    claim: str, verdict: Verdict | None, model: str = "m", estimate: Estimate | None = None
) -> Result:
    where = (claim, "study", "R1", "observational", model, "p", "no-bos")
    return Result(*where, Outcome.PASSED, verdict, estimate=estimate)


@pytest.mark.parametrize(
    ("verdict", "expected", "passes", "moved"),
    [
        (C, None, True, False),
        (U, None, True, False),
        (R, None, False, False),
        (R, R, True, False),
        (C, C, True, False),
        (C, R, False, False),
        (R, C, False, False),
        (U, C, True, True),
        (U, R, True, True),
        (C, U, True, True),
        (R, U, True, True),
    ],
)
def test_a_verdict_against_the_recorded_one(
    verdict: Verdict, expected: Verdict | None, passes: bool, moved: bool
) -> None:
    difference = baseline.compare(
        Recorded(verdict), None if expected is None else Recorded(expected)
    )
    assert (difference.passes, difference.moved) == (passes, moved)


def test_strict_fails_inconclusive_even_where_it_is_recorded() -> None:
    assert not baseline.compare(Recorded(U), Recorded(U), strict=True).passes
    assert not baseline.compare(Recorded(U), None, strict=True).passes
    assert baseline.compare(Recorded(R), Recorded(R), strict=True).passes


def test_update_keeps_what_the_run_did_not_touch(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "baseline.json"
    assert baseline.update(path, [result("a.x", C), result("a.y", R)]) == 2
    assert baseline.update(path, [result("a.x", U), result("a.z", None)]) == 1
    known = baseline.load(path)
    assert known == {
        baseline.Cell("a.x", "m", "p", "no-bos"): Recorded(U),
        baseline.Cell("a.y", "m", "p", "no-bos"): Recorded(R),
    }
    rows = json.loads(path.read_text())["verdicts"]
    assert [row["claim"] for row in rows] == ["a.x", "a.y"]


@pytest.mark.parametrize("text", ["{", '{"schema": "other/9"}', '{"schema": 1}', "[]"])
def test_a_broken_baseline_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(EvidenceError) as caught:
        baseline.load(path)
    assert "baseline.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_records_nothing(tmp_path: Path) -> None:
    assert baseline.load(tmp_path / "none.json") == {}


# 0.2 [0.1, 0.4] with an error of 0.001: 0.001 + 0.0002 of the value + 0.0015 of the half width.
HELD = Recorded(C, 0.2, 0.1, 0.4, 30, 0.001)
ALLOWED = 0.001 + OF_VALUE * 0.2 + OF_INTERVAL * 0.15


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["value", "low", "high"])
def test_what_moves_within_the_stated_tolerance_is_no_drift(name: str, sign: int) -> None:
    near = replace(HELD, error=0.0, **{name: getattr(HELD, name) + sign * 0.99 * ALLOWED})
    assert drift(near, HELD) == ""
    far = replace(HELD, error=0.0, **{name: getattr(HELD, name) + sign * 1.01 * ALLOWED})
    assert ("estimate" if name == "value" else name) in drift(far, HELD)
    # The error of this run counts as well as that of the recorded one.
    assert drift(replace(far, error=0.001), HELD) == ""


def test_another_number_of_values_is_a_drift() -> None:
    assert drift(replace(HELD, n=29), HELD) == "n is 29 where the baseline records 30"


def test_counts_must_be_equal() -> None:
    held = Recorded(C, 124_439_808.0, 124_439_808.0, 124_439_808.0, 1)
    assert drift(held, held) == ""
    assert drift(replace(held, value=124_439_809.0), held)
    # A count of 0 on every prompt has an interval, whose ends are computed.
    none = Recorded(C, 0.0, 0.0, 0.08, 352)
    assert drift(replace(none, high=0.08 + 1e-12), none) == ""
    assert drift(replace(none, high=0.081), none)


def test_a_number_that_comes_or_goes_is_a_drift() -> None:
    assert "none" in drift(replace(HELD, low=None), HELD)
    assert "none" in drift(HELD, replace(HELD, high=None))


def test_what_is_timed_anew_may_move_by_both_half_widths() -> None:
    moved = replace(HELD, value=0.49, low=0.39, high=0.69)
    assert drift(moved, HELD)
    assert drift(moved, HELD, anew=True) == ""
    assert drift(replace(moved, value=0.51), HELD, anew=True)


def test_a_drift_within_one_verdict_warns_and_strict_fails() -> None:
    moved = replace(HELD, value=0.25)
    plain, strict = (baseline.compare(moved, HELD, strict=s) for s in (False, True))
    assert (plain.passes, plain.moved) == (True, True)
    assert (strict.passes, strict.moved) == (False, True)
    for one in (plain, strict):
        assert "the estimate is +0.25 where the baseline records +0.2 (allowed: 0.0037)" in (
            one.message
        )
    assert baseline.compare(HELD, HELD, strict=True).passes
    # A verdict that turned round says so, whatever the numbers are.
    assert "turned round" in baseline.compare(replace(moved, verdict=R), HELD).message


def test_numbers_are_written_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    estimate = Estimate(0.1 + 0.2, -0.5, None, n=352, clusters=44, error=1e-6)
    assert baseline.update(path, [result("a.x", C, estimate=estimate)]) == 1
    (known,) = baseline.load(path).values()
    assert known == Recorded(C, 0.3, -0.5, None, 352, 1e-6)
    before = path.read_bytes()
    # What agrees with the recorded numbers leaves the file as it is.
    near = replace(estimate, value=0.3 + 1e-7)
    assert baseline.update(path, [result("a.x", C, estimate=near)]) == 0
    assert path.read_bytes() == before
    assert baseline.update(path, [result("a.x", C, estimate=replace(estimate, value=0.31))]) == 1
    assert baseline.load(path)[baseline.Cell("a.x", "m", "p", "no-bos")].value == 0.31


def test_verdicts_of_the_first_schema_are_read_and_get_numbers(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    row = {"claim": "a.x", "model": "m", "prompts": "p", "arm": "no-bos", "verdict": "refuted"}
    path.write_text(json.dumps({"schema": "refutable.baseline/1", "verdicts": [row]}))
    (known,) = baseline.load(path).values()
    assert known == Recorded(R)
    assert baseline.compare(Recorded(R, 0.5, 0.1, 0.9, 30), known, strict=True).passes
    assert baseline.update(path, [result("a.x", R, estimate=Estimate(0.5, 0.1, 0.9, n=30))]) == 1
    (known,) = baseline.load(path).values()
    assert (known.verdict, known.value, known.n) == (R, 0.5, 30)
    assert json.loads(path.read_text())["schema"] == "refutable.baseline/2"
