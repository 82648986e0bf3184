"""When a run starts a worker that measures, and when it ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, module

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")

# Notes when the worker is asked for and when it is ended.
NOTING = """
from refutable.measurement import prefetch as ahead
from refutable.system import worker

LOG = Path({log!r})
REAL = ahead.start

def note(word):
    left = sorted(path.name for path in LOG.parent.glob("reports/latest/evidence.json"))
    with LOG.open("a") as file:
        file.write(" ".join([word, *left]) + "\\n")

class Noted(ahead.Prefetch):
    def end(self):
        note("ended")
        super().end()

def start(harness, needs):
    note("asked")
    assert REAL(harness, needs) is None
    return Noted(worker.start("this", "job"), 1, False)

ahead.start = start

def pytest_unconfigure():
    ahead.start = REAL
"""


@pytest.fixture
def log(project: pytest.Pytester) -> Path:
    log_file = project.path / "log.txt"
    project.makeconftest(DATA + NOTING.format(log=str(log_file)))
    project.makepyfile(test_mine=module(claim_source("grows")))
    return log_file


def test_it_ends_before_the_run_leaves_its_evidence(
    project: pytest.Pytester, models: Path, log: Path
) -> None:
    project.runpytest_inprocess(f"--claim-model={models / 'little'}").assert_outcomes(passed=1)
    # Asked for once, ended by the run, and once more when pytest cleans up.
    assert log.read_text().splitlines()[:2] == ["asked", "ended"]


@pytest.mark.parametrize("option", ["--fixtures", "--collect-only", "--fixtures-per-test"])
def test_it_is_not_started_where_no_item_is_run(
    project: pytest.Pytester, models: Path, log: Path, option: str
) -> None:
    project.runpytest_inprocess(f"--claim-model={models / 'little'}", option)
    assert not log.exists()


def test_it_is_not_started_beside_a_file_that_cannot_be_collected(
    project: pytest.Pytester, models: Path, log: Path
) -> None:
    project.makepyfile(test_broken="import nowhere_to_be_found")
    words = (f"--claim-model={models / 'little'}",)
    result = project.runpytest_inprocess(*words)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not log.exists()
    going_on = project.runpytest_inprocess(*words, "--continue-on-collection-errors")
    going_on.assert_outcomes(passed=1, errors=1)
    assert log.read_text().splitlines()[0] == "asked"
