"""Recorded verdicts: what passes, what warns, what fails."""

import json
from pathlib import Path

import pytest

from refutable.errors import EvidenceError
from refutable.evidence import baseline
from refutable.records import Outcome, Result, Verdict

C, R, U = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE


def result(claim: str, verdict: Verdict | None, model: str = "m") -> Result:
    return Result(
        claim, "study", "R1", "observational", model, "p", "no-bos", Outcome.PASSED, verdict
    )


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
    found = baseline.compare(verdict, expected)
    assert (found.passes, found.moved) == (passes, moved)


def test_strict_fails_inconclusive_even_where_it_is_recorded() -> None:
    assert not baseline.compare(U, U, strict=True).passes
    assert not baseline.compare(U, None, strict=True).passes
    assert baseline.compare(R, R, strict=True).passes


def test_update_keeps_what_the_run_did_not_touch(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "baseline.json"
    assert baseline.update(path, [result("a.x", C), result("a.y", R)]) == 2
    assert baseline.update(path, [result("a.x", U), result("a.z", None)]) == 1
    known = baseline.load(path)
    assert known == {
        baseline.Cell("a.x", "m", "p", "no-bos"): U,
        baseline.Cell("a.y", "m", "p", "no-bos"): R,
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
