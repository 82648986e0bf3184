"""A worker measures small models, and leaves them in the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from refutable.measurement import prefetch
from refutable.measurement.completion import lock_of
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.spec.prompts import PromptLibrary, load_prompts
from refutable.studies.catalogue import find_claim
from refutable.system import worker
from refutable.system.paths import fixtures

TWINS = ("twin-layernorm-both-0", "twin-rmsnorm-both-0", "twin-none-0")
ABSENT = "twin-rmsnorm-both-3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(worker, "cores", lambda: 2)
    return tmp_path


def harness(models: tuple[str, ...]) -> tuple[Harness, list[Need]]:
    lab = open_harness(PromptLibrary([fixtures()]))
    claim = find_claim("gain.norm-kind-decides")
    needs = [Need(claim, model, "five-registers", "no-bos", controlled=False) for model in models]
    lab.plan(needs)
    return lab, needs


def test_what_it_measured_is_read_from_the_store(folder: Path) -> None:
    lab, needs = harness(TWINS)
    second = prefetch.start(lab, needs)
    assert second is not None
    assert second.process.wait(timeout=240) == 0
    second.end()
    again, needs = harness(TWINS)
    for need in needs:
        assert again.subject(need).observations["log_growth"].sizes["prompt"] == 25
        report = again.report(need.model)
        assert report is not None
        assert report.origin == "store"
    # Nothing is left to measure, so no process is started again.
    assert prefetch.start(again, needs) is None


def test_it_is_not_started_where_it_does_not_pay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two models, and one whose observations are committed.
    assert prefetch.start(*harness((*TWINS[:2], ABSENT))) is None
    monkeypatch.setattr(worker, "cores", lambda: 1)
    assert prefetch.start(*harness(TWINS)) is None


def test_prompts_that_cannot_be_read_are_left_to_their_items(folder: Path) -> None:
    lab, needs = harness(TWINS)
    lab.prompts = lambda name: load_prompts(name, [fixtures() / "prompts"])
    unknown = [replace(need, prompts="five-registrs") for need in needs]
    assert prefetch.start(lab, unknown) is None


def test_a_folder_that_is_called_like_a_shipped_model_is_none(folder: Path) -> None:
    lab, needs = harness(TWINS)
    lab.name_of = lambda model: f"elsewhere/{model}"
    assert prefetch.start(lab, needs) is None


def test_the_cores_come_back_when_it_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    try:
        second = prefetch.start(*harness(TWINS))
        assert second is not None
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert torch.get_num_threads() == 1
        second.bring("")
        assert torch.get_num_threads() == 1
        second.process.end()
        second.bring("")
        assert "OMP_NUM_THREADS" not in os.environ
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


KILLED = """
import sys, time
from unit import test_prefetch
from refutable.measurement import prefetch
from refutable.measurement.completion import lock_of
from refutable.system import worker
worker.cores = lambda: 2
second = prefetch.start(*test_prefetch.harness(test_prefetch.TWINS))
print(second.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
def test_nothing_is_measured_on_after_a_kill(folder: Path) -> None:
    tests = str(Path(__file__).parents[1])
    first = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((tests, os.environ.get("PYTHONPATH", ""))),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    second = int(first.stdout.readline())
    deadline = time.monotonic() + 240
    while not list(folder.glob("observations/locks/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    first.kill()
    first.wait()
    first.stdout.close()
    time.sleep(1.0)
    stat = ["ps", "-o", "stat=", "-p", str(second)]
    state = subprocess.run(stat, capture_output=True, text=True, check=False).stdout
    survived = bool(state.strip()) and not state.startswith("Z")
    if survived:
        os.kill(second, signal.SIGKILL)
    assert not survived
    assert len(list(folder.glob("observations/locks/*"))) < len(TWINS)


def test_what_takes_longest_is_begun_first_and_then_what_the_run_comes_to_last() -> None:
    lab, needs = harness((*TWINS, "no-position-0"))
    live = find_claim("noposition.converges-live")
    needs.insert(0, Need(live, "no-position-0", "battery", "no-bos", controlled=False))
    order = prefetch._order(lab, needs)
    assert order == ["no-position-0", "twin-none-0", "twin-rmsnorm-both-0", "twin-layernorm-both-0"]


def test_a_model_that_the_run_is_at_is_left_to_it(folder: Path) -> None:
    """Waiting for it would leave a core idle; the others are measured."""
    lab, needs = harness(TWINS)
    busy = lock_of(lab.state(TWINS[1]))
    with lab.sources.store.locked(busy):
        assert lab.sources.store.is_locked(busy)
        second = prefetch.start(lab, needs)
        assert second is not None
        assert second.process.wait(timeout=240) == 0
        second.end()
    assert not lab.sources.store.is_locked(busy)
    again, _ = harness(TWINS)
    left = {model for model in TWINS if prefetch._unmeasured(again, model)}
    assert left == {TWINS[1]}
