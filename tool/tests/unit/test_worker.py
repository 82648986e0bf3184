"""A worker gets its job, answers, and never outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from refutable.system import worker

SUPPORT = Path(__file__).parents[1]
WORKER = "support.drawing"

FIRST = """
import sys, time
from refutable.system import worker
second = worker.start({module!r}, {job}, speaks=True)
print(second.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for someone to ask how."""
    process = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(process.stdout.strip()) and not process.stdout.startswith("Z")


def test_a_job_larger_than_a_pipe_arrives_whole() -> None:
    started = time.perf_counter()
    second = worker.start(WORKER, ("x" * 3_000_000, 0.0), speaks=True)
    # The first process goes on before the second one has imported what it needs.
    assert time.perf_counter() - started < 0.5
    assert second is not None
    assert second.said() == b"3000000 letters"
    assert not second.running
    second.end()


def test_one_that_fails_has_said_nothing() -> None:
    second = worker.start("refutable.no_such_module", "x" * 1_000_000, speaks=True)
    assert second is not None
    assert second.said() is None


@pytest.mark.parametrize("interpreter", ["", "/nowhere/python"])
def test_where_no_process_can_be_started_there_is_none(
    monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    monkeypatch.setattr(worker.sys, "executable", interpreter)
    assert worker.start(WORKER, ("", 0.0)) is None


def test_a_file_of_the_users_folder_stands_in_for_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('this is not the library')")
    monkeypatch.chdir(tmp_path)
    second = worker.start(WORKER, ("abc", 0.0), speaks=True)
    assert second is not None
    assert second.said() == b"3 letters"


def test_it_is_ended_in_the_middle_of_its_work() -> None:
    second = worker.start(WORKER, ("abc", 600.0))
    assert second is not None
    assert second.running
    second.end()
    assert not second.running
    assert second.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
@pytest.mark.parametrize("when", ["at once", "at work"])
def test_it_does_not_outlive_a_first_process_that_is_killed(when: str) -> None:
    code = FIRST.format(module=WORKER, job=("abc", 600.0))
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    second = int(first.stdout.readline())
    try:
        if when == "at work":
            time.sleep(3)
            assert alive(second)
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    deadline = time.monotonic() + 20
    while alive(second) and time.monotonic() < deadline:
        time.sleep(0.1)
    survived = alive(second)
    if survived:
        os.kill(second, signal.SIGKILL)
    assert not survived


def test_the_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert worker.cores() == 1


def test_a_worker_that_has_loaded_torch_takes_its_share_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from refutable.plugin import process

    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(process, "cores", lambda: 6)
    try:
        process.share_cores(SimpleNamespace(workerinput={"workercount": 2}))  # type: ignore[arg-type]
        assert os.environ["OMP_NUM_THREADS"] == "3"
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
