"""A report is kept where nothing in it changed; figures are drawn by two processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from golden import sample_run
from matplotlib.figure import Figure

from refutable.report import kept
from refutable.report.figures import beside
from refutable.report.figures.registry import Spec
from refutable.report.figures.render import render


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("report.html", "report.md", "observations.csv"):
        (tmp_path / name).write_text("made")
    (tmp_path / "observations.parquet").write_bytes(b"rows")
    return tmp_path


def test_a_report_is_current_until_what_it_says_changes(folder: Path) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    assert not kept.is_current(evidence, folder)
    kept.mark(evidence, folder)
    assert kept.is_current(evidence, folder)
    later = replace(evidence.environment, started="2031-01-01T00:00:00", seconds=1e4)
    assert kept.is_current(replace(evidence, environment=later), folder)
    first, *others = evidence.results
    moved = (replace(first, reason="another reason"), *others)
    assert not kept.is_current(replace(evidence, results=moved), folder)
    (folder / "observations.parquet").write_bytes(b"other rows")
    assert not kept.is_current(evidence, folder)


def test_a_report_with_a_part_missing_is_not_current(folder: Path) -> None:
    evidence = sample_run.evidence(sample_run.observations())
    kept.mark(evidence, folder)
    (folder / "report.md").unlink()
    assert not kept.is_current(evidence, folder)


def line(table: pd.DataFrame) -> Figure:
    figure, axes = plt.subplots()
    axes.plot(table["x"], table["y"])
    plt.close(figure)
    return figure


def specs(count: int) -> list[Spec]:
    table = pd.DataFrame({"x": [0, 1], "y": [0.0, 2.0]})
    made = [Spec("s", f"f{i}", "t", "c", "n = 2", table, line, f"d{i}") for i in range(count)]
    # A function of this test cannot be handed to another process.
    return [replace(made[1], draw=lambda rows: line(rows)), *made[2:], made[0]]


def test_every_figure_is_drawn_once_whoever_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside.os, "cpu_count", lambda: 2)
    asked = specs(10)
    taken = beside.Beside(asked, tmp_path, "today")
    assert 3 <= len(taken.taken) <= 5
    assert asked[0].name not in taken.taken
    found = render(asked, tmp_path / "figures", "today")
    assert [r.name for r in found] == [s.name for s in asked]
    assert all(r.redrawn and r.footer.endswith("data of today") for r in found)
    files = {path.name for path in (tmp_path / "figures").glob("f*.*")}
    assert files == {f"{s.name}.{kind}" for s in asked for kind in ("png", "svg")}
    assert not any(r.redrawn for r in render(asked, tmp_path / "figures", "tomorrow"))
    taken.done()


def test_what_the_second_process_leaves_is_drawn_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside.os, "cpu_count", lambda: 2)
    # An interpreter that ends at once with an error.
    monkeypatch.setattr(beside.sys, "executable", "/bin/false")
    found = render(specs(9), tmp_path, "today")
    assert len(found) == 9
    assert all((tmp_path / r.png).stat().st_size > 1000 for r in found)
