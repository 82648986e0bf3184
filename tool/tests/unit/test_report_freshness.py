"""A report is kept where nothing in it changed; figures are drawn by two processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from golden import sample_run
from support.drawing import line

from refutable.records import Evidence
from refutable.report import freshness
from refutable.report.figures import parallel
from refutable.report.figures.registry import Spec
from refutable.report.figures.render import render
from refutable.system import worker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("report.html", "report.md", "observations.csv"):
        (tmp_path / name).write_text("made")
    (tmp_path / "observations.parquet").write_bytes(b"rows")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "gain.svg").write_text("drawn")
    return tmp_path


def test_a_report_is_current_until_what_it_says_changes(folder: Path) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    assert not freshness.is_current(evidence, folder)
    freshness.mark(evidence, folder)
    assert freshness.is_current(evidence, folder)
    later = replace(evidence.environment, started="2031-01-01T00:00:00", seconds=1e4)
    assert freshness.is_current(replace(evidence, environment=later), folder)
    first, *others = evidence.results
    moved = (replace(first, reason="another reason"), *others)
    assert not freshness.is_current(replace(evidence, results=moved), folder)
    (folder / "observations.parquet").write_bytes(b"other rows")
    assert not freshness.is_current(evidence, folder)


@pytest.mark.parametrize(
    "name", ["report.html", "report.md", "observations.csv", "figures/gain.svg"]
)
@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("other")])
def test_a_report_with_a_part_missing_or_of_another_run_is_not_current(
    folder: Path, name: str, change: Callable[[Path], object]
) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    freshness.mark(evidence, folder)
    assert freshness.is_current(evidence, folder)
    change(folder / name)
    assert not freshness.is_current(evidence, folder)


def test_where_numbers_come_from_counts_but_not_which_day(folder: Path) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    first, *others = evidence.results
    model, *models = evidence.models

    def with_source(source: str) -> Evidence:
        return replace(evidence, results=(replace(first, source=source), *others))

    freshness.mark(with_source("live"), folder)
    assert freshness.is_current(with_source("store"), folder)
    assert not freshness.is_current(with_source("committed"), folder)
    replayed = (replace(model, origin="committed"), *models)
    assert not freshness.is_current(replace(with_source("live"), models=replayed), folder)


def test_another_library_or_published_number_makes_another_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    freshness.mark(evidence, folder)
    with monkeypatch.context() as patch:
        patch.setattr(freshness.metadata, "version", lambda name: f"{name} of tomorrow")
        assert not freshness.is_current(evidence, folder)
    assert freshness.is_current(evidence, folder)
    (folder / "references.toml").write_text("other = 1")
    monkeypatch.setattr(freshness, "fixtures", lambda: folder)
    assert not freshness.is_current(evidence, folder)


def specs(count: int) -> list[Spec]:
    table = pd.DataFrame({"x": [0, 1], "y": [0.0, 2.0]})
    made = [Spec("s", f"f{i}", "t", "c", "n = 2", table, line, f"d{i}") for i in range(count)]
    # A function of this test cannot be handed to another process.
    return [replace(made[1], draw=lambda rows: line(rows)), *made[2:], made[0]]


def test_a_failure_here_ends_the_second_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "cores", lambda: 2)
    started: list[worker.WorkerProcess] = []

    def noted(*args: object, **how: object) -> worker.WorkerProcess | None:
        started.append(start(*args, **how))
        return started[-1]

    start = worker.start
    monkeypatch.setattr(worker, "start", noted)

    def stopped(table: pd.DataFrame) -> None:
        raise KeyboardInterrupt

    asked = [replace(spec, draw=stopped) if n == 0 else spec for n, spec in enumerate(specs(10))]
    with pytest.raises(KeyboardInterrupt):
        render(asked, tmp_path, "today")
    (second,) = started
    assert not second.running


def test_every_figure_is_drawn_once_whoever_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "cores", lambda: 2)
    # The worker finds the function that draws.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    asked = specs(10)
    with parallel.ParallelDrawing(asked, tmp_path, "today") as second:
        assert second.taken == {asked[place].name for place in (1, 3, 5, 7, 9)}
        assert second.done() == second.taken
    assert {path.stem for path in tmp_path.glob("*.svg")} == second.taken
    measured = render(asked, tmp_path / "figures", "today")
    assert [r.name for r in measured] == [s.name for s in asked]
    assert all(r.redrawn and r.footer.endswith("data of today") for r in measured)
    files = {path.name for path in (tmp_path / "figures").glob("f*.*")}
    assert files == {f"{s.name}.{kind}" for s in asked for kind in ("png", "svg")}
    assert not any(r.redrawn for r in render(asked, tmp_path / "figures", "tomorrow"))


@pytest.mark.parametrize("executable", ["/bin/false", "/nowhere/python"])
def test_what_the_second_process_leaves_is_drawn_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(worker, "cores", lambda: 2)
    # An interpreter that ends at once with an error, and one that is not there.
    monkeypatch.setattr(worker.sys, "executable", executable)
    measured = render(specs(9), tmp_path, "today")
    assert len(measured) == 9
    assert all((tmp_path / r.png).stat().st_size > 1000 for r in measured)
