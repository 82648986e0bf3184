"""What a run prints: one screen, each reason once, parts of a run beside the whole."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.projects import claim_source, evidence, module

MANY = module(*(claim_source(f"above_{k}", predicts=f"mean.above({-k - 1}.0)") for k in range(30)))


@pytest.fixture(autouse=True)
def _narrow(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


UNSURE = module(
    claim_source("grows"),
    claim_source("few", predicts="mean.above(0.0)").replace(
        'prompts="mine"', 'prompts="mine:f0,f1"'
    ),
)


def screen(result: pytest.RunResult) -> list[str]:
    """Lines from the claims section on."""
    lines = result.stdout.lines
    return lines[next(k for k, line in enumerate(lines) if "= claims =" in line) :]


def test_a_run_of_many_claims_is_one_screen(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_mine=MANY)
    model = [f"--claim-model={models / name}" for name in ("little", "other")]
    for columns in (100, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = project.runpytest_inprocess(*model)
        result.assert_outcomes(passed=60)
        shown = screen(result)
        assert len(shown) <= 30
        assert len(result.stdout.lines) <= 40
        assert max(map(len, shown)) <= max(columns, 100)
        # A claim counts once, whatever it was tried on.
        result.stdout.fnmatch_lines(["study*claims*confirmed*", "mine*30*30*", "60 cells *: 60 c*"])
        # Dots stand beside no file name: claims come model by model.
        assert not [line for line in result.stdout.lines if line.startswith("test_mine.py")]
    verbose = screen(project.runpytest_inprocess("-v", *model))
    assert sum(line.startswith("CONFIRMED") for line in verbose) == 60
    assert max(map(len, verbose)) <= 80


def test_an_open_verdict_says_why_in_its_line(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(test_mine=UNSURE)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    said = " ".join(" ".join(screen(result)).split())
    assert "2 families of 5 needed" in said


def test_a_model_that_is_broken_says_its_reason_once(
    project: pytest.Pytester, models: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    project.makepyfile(test_mine=MANY)
    models_asked = (f"--claim-model={broken}", f"--claim-model={models / 'little'}")
    result = project.runpytest_inprocess(*models_asked, "--junitxml=out.xml")
    result.assert_outcomes(passed=30, errors=30)
    reason = evidence(project)["results"][0]["reason"]
    assert reason
    told = "".join("".join(screen(result)).split())
    assert "ERROR30claimsonbroken:" in told
    assert told.count("".join(reason.split())) == 1
    assert len(result.stdout.lines) <= 40
    # The evidence holds it for every cell, the XML for the first alone.
    errors = [
        case.findtext("error") or ""
        for case in ElementTree.parse(project.path / "out.xml").iter("testcase")  # noqa: S314
        if case.find("error") is not None
    ]
    assert len(errors) == 30
    assert sum(reason[:40] in text for text in errors) == 1
    assert sum("for the reason that test_mine.py::" in text for text in errors) == 29


def test_a_traceback_of_a_claim_is_not_left_out(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(
        test_mine=MANY,
        test_plain="def test_plain(claim_case_that_is_not_there):\n    pass\n",
    )
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    result.assert_outcomes(passed=30, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'claim_case_that_is_not_there' not found*"])


def test_a_part_of_a_run_leaves_the_report_of_the_whole(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows"), claim_source("more")))
    project.makepyfile(test_other=module(claim_source("else")))
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model).assert_outcomes(passed=3)
    for words, left in (
        (("--claim-id=gain.grows",), 1),
        (("-k", "grows"), 1),
        (("test_other.py",), 1),
    ):
        part = project.runpytest_inprocess(model, *words)
        part.assert_outcomes(passed=left, deselected=None)
        part.stdout.fnmatch_lines(["this run is a part: reports/latest keeps the report of 3 *"])
        part.stdout.fnmatch_lines(["evidence: reports/part/evidence.json*"])
        assert len(evidence(project)["results"]) == 3
        assert len(evidence(project, "reports/part")["results"]) == left
    # A folder that was named is what the user wants, another model is a run of its own, and a
    # test that is gone makes no later run a part.
    named = project.runpytest_inprocess(model, "-k", "grows", "--claim-out=reports/mine")
    named.stdout.no_fnmatch_line("*is a part*")
    (project.path / "test_other.py").unlink()
    project.runpytest_inprocess(model).stdout.no_fnmatch_line("*is a part*")
    assert len(evidence(project)["results"]) == 2
    other = project.runpytest_inprocess(f"--claim-model={models / 'other'}", "-k", "grows")
    other.stdout.no_fnmatch_line("*is a part*")
    assert [r["model"] for r in evidence(project)["results"]] == ["other"]


def test_the_path_is_the_one_to_open_from_where_the_command_was_typed(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    below = project.path / "deeper"
    below.mkdir()
    monkeypatch.chdir(below)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}", "..")
    result.stdout.fnmatch_lines(["evidence: ../reports/latest/evidence.json (*"])
    assert (below / "../reports/latest/evidence.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "live"), [("", True), ("true", False)])
def test_a_terminal_gets_one_live_line_and_ci_none(
    project: pytest.Pytester, models: Path, ci: str, live: bool
) -> None:
    project.makepyfile(test_mine=MANY)
    reader, writer = pty.openpty()
    environment = {**os.environ, "CI": ci, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    command = (sys.executable, "-m", "pytest", f"--claim-model={models / 'little'}")
    with subprocess.Popen(
        command, stdout=writer, stderr=writer, cwd=project.path, env=environment
    ) as process:
        os.close(writer)
        shown = read_all(reader)
    assert process.returncode == 0, shown
    assert ("/30 cells" in shown) is live
    assert ("claims ..." in shown) is not live
    assert "30 passed" in shown


def read_all(descriptor: int) -> str:
    """Read a terminal until nobody writes to it any more."""
    content = b""
    while select.select([descriptor], [], [], 120)[0]:
        try:
            read = os.read(descriptor, 65536)
        except OSError:  # Linux tells the end so
            break
        if not read:
            break
        content += read
    os.close(descriptor)
    return content.decode("utf-8", "replace")
