"""A run that is stopped, or that cannot write: what it leaves says so, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, counting, evidence, loads, module

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
    content = evidence(project)
    assert [r["claim"] for r in content["results"]] == ["gain.grows"]
    assert "the run was stopped: 2 of 3 cells were not tested" in content["notes"]
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


@pytest.mark.slow
def test_workers_that_are_stopped_say_so_too(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(test_mine=THREE)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}", "-x", "-n", "1")
    result.assert_outcomes(passed=1, failed=1)
    assert "the run was stopped: 1 of 3 cells were not tested" in evidence(project)["notes"]


@pytest.mark.parametrize("what", ["out", "baseline"])
def test_what_cannot_be_used_at_the_end_is_told_before_anything_is_measured(
    project: pytest.Pytester, models: Path, what: str
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=THREE)
    (project.path / "taken").write_text("a file")
    wrong = {"out": "taken/here", "baseline": "taken"}[what]
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", f"--claim-{what}={wrong}"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert "taken" in line
    assert loads(log) == []


def test_a_plan_of_the_setup_measures_nothing(project: pytest.Pytester, models: Path) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=THREE)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}", "--setup-plan")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*test_grows*residual_norm*"])
    assert loads(log) == []
    assert not (project.path / "reports" / "latest").exists()


FAILING = """
def failing(spec, **how):
    load(spec, **how)
    raise RuntimeError("the device ran\\nout of memory")

module.load = failing
"""


def test_what_fails_in_a_library_is_told_once_and_in_one_line(
    project: pytest.Pytester, models: Path
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log) + FAILING)
    project.makepyfile(test_mine=THREE)
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", f"--claim-model={models / 'other'}"
    )
    result.assert_outcomes(errors=6)
    reasons = {r["model"]: r["reason"] for r in evidence(project)["results"]}
    assert reasons["little"].startswith(
        "little: measuring it failed: RuntimeError: the device ran out of memory (conftest.py, line"
    )
    assert "Traceback" not in result.stdout.str()
    # The claims that follow do not try again.
    assert loads(log) == ["little", "other"]


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
