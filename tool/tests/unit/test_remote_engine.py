"""Parts of a run that other processes measure give what this process would have measured."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file, save_file
from support.projects import write_gpt2

from refutable.errors import InstrumentError, NotMeasurableError, RefutableError
from refutable.measurement import completion
from refutable.measurement.engine import RemoteEngine
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.measurement.part import MeasuredPart, Part
from refutable.measurement.ray_pool import _connect
from refutable.measurement.remote import measure_part, parts_of
from refutable.measurement.state import Settings
from refutable.spec.prompts import PromptLibrary
from refutable.store.store import Store
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

TINY = {kind: str(fixtures() / "tiny" / kind) for kind in ("layernorm", "rmsnorm")}
ARMS = ("no-bos", "bos")
COUNTED = Need(find_claim("weights.counted-once"), "", "", "").observables
"""Facts of a model alone."""


class Here:
    """A pool that measures in this process, the part that was handed over last first."""

    def __init__(self, change: Callable[[MeasuredPart], MeasuredPart] = lambda part: part):
        self.parts: list[Part] = []
        self.change = change
        self.closed = 0

    def submit(self, part: Part) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def wait(self, handles: list[int]) -> tuple[int, MeasuredPart]:
        return max(handles), self.change(measure_part(self.parts[max(handles)]))

    def close(self) -> None:
        self.closed += 1


def harness(root: Path, models: dict[str, str], **settings: Any) -> Harness:
    library = PromptLibrary([fixtures()])
    return open_harness(library, Settings(**settings), models=models, store=Store(root))


def needs(models: dict[str, str], claim_id: str, arms: tuple[str, ...] = ARMS) -> list[Need]:
    claim = find_claim(claim_id)
    if claim.control is not None:
        claim = replace(claim, control=replace(claim.control, seeds=2))
    return [Need(claim, model, "five-registers", arm) for model in models for arm in arms]


def started(lab: Harness, asked: list[Need], pool: Here) -> tuple[RemoteEngine, list[str]]:
    lab.plan(asked)
    lines: list[str] = []
    engine = RemoteEngine(lab, pool, lines.append)
    engine.start(asked)
    return engine, lines


@pytest.fixture
def here_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, this process must find everything in its store."""

    def refuse(*_: object) -> None:
        raise AssertionError("measured in this process")

    return lambda: monkeypatch.setattr(completion, "_runner", refuse)


def test_what_parts_bring_is_what_this_process_measures(
    tmp_path: Path, here_nothing_is_measured: Callable[[], None]
) -> None:
    asked = needs(TINY, "gain.norm-kind-decides") + needs(TINY, "weights.counted-once")
    asked += needs({"rmsnorm": TINY["rmsnorm"]}, "gain.rmsnorm-expands")
    alone = harness(tmp_path / "alone", TINY)
    alone.plan(asked)
    expected = {model: dict(alone.measure(model).arrays) for model in TINY}
    pool = Here()
    head = harness(tmp_path / "head", TINY)
    engine, lines = started(head, asked, pool)
    assert [(part.model, part.arm) for part in pool.parts] == [
        (model, arm) for model in TINY for arm in ARMS
    ]
    # What has no prompts is asked of one part alone.
    weighed = [n for part in pool.parts for _, names in part.wanted for n in names & COUNTED]
    assert sorted(weighed) == sorted([*COUNTED] * len(TINY))
    assert not list((tmp_path / "head").glob("observations/*/*"))
    engine.bring("rmsnorm")
    assert [line.split(":")[0] for line in lines] == ["rmsnorm"]
    engine.bring("layernorm")
    assert "2 tasks" in lines[1]
    assert "2 of 2 models" in lines[1]
    here_nothing_is_measured()
    for model, roles in expected.items():
        measured = head.measure(model).arrays
        assert measured.keys() == roles.keys()
        for role, arrays in roles.items():
            assert measured[role].keys() == arrays.keys()
            for name, array in arrays.items():
                xr.testing.assert_identical(measured[role][name], array)
        report = head.report(model)
        assert report is not None
        assert report.origin == "live"
        assert {c.name for c in report.checks} == {
            c.name
            for c in alone.report(model).checks  # type: ignore[union-attr]
        }
    # Nothing is left to hand over.
    again = harness(tmp_path / "head", TINY)
    again.plan(asked)
    assert [part for model in TINY for part in parts_of(again, model)] == []
    engine.end()
    assert pool.closed == 1


def broken(folder: Path) -> dict[str, str]:
    write_gpt2(folder / "broken")
    weights = load_file(folder / "broken" / "model.safetensors")
    name = next(n for n in weights if n.endswith("mlp.c_fc.weight"))
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, folder / "broken" / "model.safetensors", metadata={"format": "pt"})
    return {"broken": str(folder / "broken")}


def test_a_model_that_cannot_be_measured_is_told_once_and_not_tried_here(
    tmp_path: Path, here_nothing_is_measured: Callable[[], None]
) -> None:
    models = broken(tmp_path)
    asked = needs(models, "gain.norm-kind-decides", ARMS[:1])
    head = harness(tmp_path / "head", models)
    engine, lines = started(head, asked, Here())
    engine.bring("broken")
    here_nothing_is_measured()
    with pytest.raises(InstrumentError, match="broken"):
        head.subject(asked[0])
    assert "(failed)" in lines[0]
    report = head.report("broken")
    assert report is not None
    assert "broken" in report.error


def test_other_versions_are_refused(tmp_path: Path) -> None:
    asked = needs(TINY, "gain.norm-kind-decides", ARMS[:1])
    head = harness(tmp_path, TINY)
    other = Here(lambda part: replace(part, versions=("2.0", "4.0"), where="far:1"))
    engine, _ = started(head, asked, other)
    engine.bring("rmsnorm")
    with pytest.raises(InstrumentError, match=r"rmsnorm was measured with torch 2\.0 .* on far:1"):
        head.subject(asked[1])


def test_what_a_model_does_not_have_is_not_looked_for_again(
    tmp_path: Path, here_nothing_is_measured: Callable[[], None]
) -> None:
    """A model that is measured block by block lacks what needs all of it: no store keeps that."""
    models = {"rmsnorm": TINY["rmsnorm"]}
    asked = needs(models, "ablation.noise-costs-loss", ARMS[:1])
    head = harness(tmp_path, models, memory=1)
    engine, _ = started(head, asked, Here())
    engine.bring("rmsnorm")
    here_nothing_is_measured()
    with pytest.raises(NotMeasurableError, match="block by block"):
        head.subject(asked[0])


def test_a_model_that_cannot_be_found_is_left_to_its_items(tmp_path: Path) -> None:
    models = {"gone": str(tmp_path / "gone")}
    asked = needs(models, "gain.norm-kind-decides", ARMS[:1])
    pool, head = Here(), harness(tmp_path, models)
    lines: list[str] = []
    engine = RemoteEngine(head, pool, lines.append)
    engine.start(asked)
    engine.bring("gone")
    assert pool.parts == []
    assert lines == []


def test_where_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    # Nothing of ray is needed to find that out.
    with pytest.raises(
        RefutableError, match=f"no ray cluster at ray://127.0.0.1:{port}: Connection"
    ):
        _connect(ModuleType("ray"), f"ray://127.0.0.1:{port}")
