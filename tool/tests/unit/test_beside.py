"""Two processes measure one model together and find what one finds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refutable.measurement import beside
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings
from refutable.measurement.units import Turns, Unit, work_through
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system import worker
from refutable.system.paths import fixtures


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(worker, "cores", lambda: 2)
    monkeypatch.setattr(beside, "WORTH", 1)
    shutil.copytree(fixtures() / "tiny" / "rmsnorm", tmp_path / "local")
    return str(tmp_path / "local")


def harness(folder: Path, monkeypatch: pytest.MonkeyPatch, *, together: bool = True) -> Harness:
    monkeypatch.setenv("REFUTABLE_CACHE", str(folder))
    return open_harness(PromptLibrary([fixtures()]), Settings(beside=together))


def needs_of(model: str) -> list[Need]:
    expands = find_claim("gain.rmsnorm-training-expands")
    few = replace(expands, control=replace(expands.control, seeds=3))
    deletions = find_claim("literature.blocks-are-spare")
    arms = [Need(few, model, "five-registers", arm) for arm in ("no-bos", "bos")]
    return [*arms, Need(deletions, model, "five-registers", "no-bos")]


def test_alone_every_piece_is_done_in_order() -> None:
    done: list[str] = []
    work_through([Unit(name, lambda name=name: done.append(name)) for name in "abc"], None)
    assert done == ["a", "b", "c"]


def test_a_piece_that_the_other_process_is_at_is_waited_for_last(tmp_path: Path) -> None:
    done: list[str] = []
    first, second = Turns(tmp_path / "t", first=True), Turns(tmp_path / "t", first=False)
    with second.free("b") as free:
        assert free
        with first.free("b") as taken:
            assert not taken
        # The worker leaves what the first is at, and goes from the end.
        units = [Unit(name, lambda name=name: done.append(name)) for name in "abc"]
        work_through(units, second)
        assert done == ["c", "a"]
    done.clear()

    class Released(Turns):
        def wait(self, name: str) -> None:
            held.__exit__(None, None, None)
            super().wait(name)

    held = second.free("b")
    held.__enter__()
    work_through(units, Released(tmp_path / "t", first=True))
    assert done == ["a", "c", "b"]
    first.forget()
    assert not (tmp_path / "t").exists()


def test_a_second_process_leaves_what_one_process_finds(
    local: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = needs_of(local)
    alone = harness(tmp_path / "alone", monkeypatch, together=False)
    alone.plan(needs)
    wanted = [alone.subject(need) for need in needs]
    started: list[object] = []
    start = worker.start

    def noted(*args: object, **kwargs: object) -> worker.WorkerProcess | None:
        started.append(args[0])
        return start(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "start", noted)
    both = harness(tmp_path / "both", monkeypatch)
    both.plan(needs)
    for need, subject in zip(needs, wanted, strict=True):
        actual = both.subject(need)
        pairs = zip(
            (actual.observations, *actual.controls),
            (subject.observations, *subject.controls),
            strict=True,
        )
        for measured, alike in pairs:
            assert sorted(measured) == sorted(alike)
            for name in measured:
                np.testing.assert_allclose(measured[name], alike[name], rtol=1e-5, atol=1e-6)
    assert started == ["refutable.measurement.beside"]
    assert not list((tmp_path / "both" / "observations" / "locks").glob("*/"))


def test_the_second_process_measures_copies_from_the_last(
    local: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = needs_of(local)
    first = harness(tmp_path / "store", monkeypatch, together=False)
    first.plan([replace(need, controlled=False) for need in needs])
    for need in needs:
        first.subject(replace(need, controlled=False))
    lab = harness(tmp_path / "store", monkeypatch)
    lab.plan(needs)
    job = beside._job(lab.archive(local))
    assert job is not None
    costs = beside.run(job)
    copies = [cost.role for cost in costs if cost.what == "untrained weights"]
    assert copies == ["untrained-2", "untrained-1", "untrained-0"]
    for need in needs:
        lab.subject(need)
    report = lab.report(local)
    assert report is not None
    assert report.origin == "store"


def test_a_worker_does_not_wait_for_checks_that_will_not_come(
    local: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = harness(tmp_path / "store", monkeypatch)
    lab.plan(needs_of(local))
    job = beside._job(lab.archive(local))
    assert job is not None
    turns = Turns(job.turns, first=True)
    turns.finish()
    # Nobody checks the instrument: the copies, which the worker takes first, need it.
    assert beside.run(job) == []
    turns.forget()


def test_it_is_not_started_where_it_does_not_pay(
    local: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = harness(tmp_path, monkeypatch)
    lab.plan(needs_of(local))
    assert beside._job(lab.archive(local)) is not None
    monkeypatch.setattr(beside, "WORTH", 10**12)
    assert beside._job(lab.archive(local)) is None
    monkeypatch.setattr(beside, "WORTH", 1)
    monkeypatch.setattr(worker, "cores", lambda: 1)
    assert beside._job(lab.archive(local)) is None
    monkeypatch.setattr(worker, "cores", lambda: 2)
    shipped = harness(tmp_path, monkeypatch)
    shipped.plan(needs_of("tiny-rmsnorm"))
    assert beside._job(shipped.archive("tiny-rmsnorm")) is None
    alone = harness(tmp_path, monkeypatch, together=False)
    alone.plan(needs_of(local))
    assert beside._job(alone.archive(local)) is None
