"""Claims are written down before they are measured, and what is changed later is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.projects import claim_source, evidence, module, prompt_file

pytestmark = pytest.mark.filterwarnings("default")


def lines(project: pytest.Pytester) -> list[dict[str, Any]]:
    text = (project.path / ".refutable" / "registered.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def states(project: pytest.Pytester) -> dict[str, dict[str, Any]]:
    return {r["claim"]: r["registration"] for r in evidence(project)["results"]}


def write(project: pytest.Pytester, *claims: str) -> None:
    (project.path / "test_mine.py").write_text(module(*claims))


def test_a_run_registers_before_it_measures_and_once(
    project: pytest.Pytester, models: Path
) -> None:
    write(project, claim_source("grows"), claim_source("again"))
    run = (f"--claim-model={models / 'little'}", "-v")
    first = project.runpytest_inprocess(*run)
    first.stdout.fnmatch_lines("*gain.grows *registered before measurement, 20*")
    assert {(r["before"], tuple(r["changed"])) for r in states(project).values()} == {(True, ())}
    assert [line["run"] for line in lines(project)] == [True, True]
    project.runpytest_inprocess(*run)
    assert len(lines(project)) == 2


def test_what_is_changed_after_it_was_measured_is_told(
    project: pytest.Pytester, models: Path
) -> None:
    run = (f"--claim-model={models / 'little'}", "-q")
    write(project, claim_source("grows"), claim_source("other"))
    project.runpytest_inprocess(*run)
    write(project, claim_source("grows", predicts="mean.above(0.05)"), claim_source("other"))
    second = project.runpytest_inprocess(*run)
    state_of = states(project)
    assert set(state_of["gain.grows"]["changed"]) == {"the claim's source", "the region"}
    assert state_of["gain.other"]["changed"] == []
    second.stdout.fnmatch_lines("*gain.grows *changed since: the claim's source, the region*")
    (project.path / "data" / "prompts" / "mine.toml").write_text(prompt_file(families=9))
    project.runpytest_inprocess(*run)
    assert states(project)["gain.other"]["changed"] == ["the prompts"]
    # What was written down at first stays.
    assert lines(project)[0]["region"] == [0.0, None]


def test_what_is_changed_before_it_is_measured_is_no_change(
    project: pytest.Pytester, models: Path
) -> None:
    only = (f"--claim-model={models / 'little'}", "-q", "--claim-register")
    write(project, claim_source("grows"))
    result = project.runpytest_inprocess(*only)
    assert result.ret == 0
    result.stdout.fnmatch_lines("1 of 1 registered anew in *registered.jsonl")
    assert not (project.path / "reports").exists()
    write(project, claim_source("grows", predicts="mean.above(0.05)"))
    project.runpytest_inprocess(*only)
    project.runpytest_inprocess(*only)
    assert [line["run"] for line in lines(project)] == [False, False]
    project.runpytest_inprocess(*only[:2])
    assert states(project)["gain.grows"] == {
        "date": lines(project)[1]["date"][:10], "before": True, "changed": []
    }  # fmt: skip


def test_a_claim_with_a_recorded_verdict_is_registered_too_late(
    project: pytest.Pytester, models: Path
) -> None:
    write(project, claim_source("grows"))
    run = (f"--claim-model={models / 'little'}", "-v")
    project.runpytest_inprocess(*run, "--claim-update-baseline")
    (project.path / ".refutable" / "registered.jsonl").unlink()
    second = project.runpytest_inprocess(*run)
    assert states(project)["gain.grows"]["before"] is False
    second.stdout.fnmatch_lines("*registered on 20*, after a verdict was recorded*")


def test_workers_write_each_claim_once(project: pytest.Pytester, models: Path) -> None:
    write(project, *(claim_source(f"grows{i}") for i in range(4)))
    project.runpytest_inprocess(f"--claim-model={models / 'little'}", "-n2", "-q")
    assert len(lines(project)) == 4
    assert all(r["before"] for r in states(project).values())


def test_where_nothing_can_be_written_the_cache_is_taken_in_one_line(
    project: pytest.Pytester, models: Path
) -> None:
    write(project, claim_source("grows"))
    (project.path / ".refutable").write_text("a file is in the way")
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}", "-q")
    told = [line for line in result.outlines if line.startswith("claims are registered in ")]
    assert len(told) == 1
    assert states(project)["gain.grows"]["before"] is True


def test_half_a_line_is_passed_over_and_told(project: pytest.Pytester, models: Path) -> None:
    write(project, claim_source("grows"))
    run = (f"--claim-model={models / 'little'}", "-q")
    project.runpytest_inprocess(*run)
    file = project.path / ".refutable" / "registered.jsonl"
    with file.open("a") as end:
        end.write('{"claim": "gain.gr')
    write(project, claim_source("grows"), claim_source("other"))
    result = project.runpytest_inprocess(*run)
    result.stdout.fnmatch_lines("*registered.jsonl: 1 lines cannot be read*")
    assert {r["before"] for r in states(project).values()} == {True}
    assert json.loads(file.read_text().splitlines()[-1])["claim"] == "gain.other"
