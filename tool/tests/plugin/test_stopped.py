"""A run that is stopped, or that cannot write: what it leaves says so, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, evidence, module

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")

THREE = module(
    claim_source("grows"),
    claim_source("shrinks", predicts="mean.below(0.0)"),
    claim_source("stays", predicts="mean.within(-9.0, 9.0)"),
)
# The user stops the run when the second claim is called.
STOP = """
def pytest_runtest_setup(item):
    if "shrinks" in item.name:
        raise KeyboardInterrupt
"""


def test_a_user_who_stops_a_run_gets_its_evidence_and_no_report(
    project: pytest.Pytester, models: Path
) -> None:
    project.makeconftest(DATA + STOP)
    project.makeini("[pytest]\nclaim_report = yes\n")
    project.makepyfile(test_mine=THREE)
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", no_reraise_ctrlc=True
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    found = evidence(project)
    assert [r["claim"] for r in found["results"]] == ["gain.grows"]
    assert "the run was stopped: 2 of 3 cells were not tested" in found["notes"]
    # To draw figures takes as long as the user did not want to wait.
    assert not (project.path / "reports" / "latest" / "report.html").exists()
    result.stdout.fnmatch_lines(
        ["report: not made, *: `refutable report reports/latest/evidence.json` makes it"]
    )


def test_a_run_that_ends_with_its_first_failure_says_what_it_lacks(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=THREE)
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model, "-x").assert_outcomes(passed=1, failed=1)
    assert "the run was stopped: 1 of 3 cells were not tested" in evidence(project)["notes"]
    project.runpytest_inprocess(model).assert_outcomes(passed=2, failed=1)
    assert not [note for note in evidence(project)["notes"] if "stopped" in note]


def test_evidence_that_cannot_be_written_is_one_line_beside_all_others(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=THREE)
    (project.path / "taken").write_text("a file")
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", "--claim-out=taken/here"
    )
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("ERROR"))
    assert "taken" in line
    assert result.ret != pytest.ExitCode.OK


def test_a_disk_that_fills_up_costs_no_other_line(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(test_mine=THREE)
    # A folder where the file is to be: found out when everything has been measured.
    (project.path / "found" / "evidence.json" / "in-the-way").mkdir(parents=True)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}", "--claim-out=found")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["ERROR: not all of what was found could be written: Is a directory*evidence.json*"]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
