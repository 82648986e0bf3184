"""What a claim run does to its process: threads, and lines on the terminal."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from refutable.system.worker import cores, set_threads

if TYPE_CHECKING:
    from refutable.measurement.engine import Engine
    from refutable.measurement.harness import Harness
    from refutable.measurement.needs import Need

LOCAL = "local"
"""The engine that is this machine."""


def share_cores(config: pytest.Config) -> None:
    """Give an xdist worker its share of the cores; nothing in a run without workers.

    Torch would start as many threads as there are cores in every worker, and threads that wait
    for each other on a core that another worker holds make both many times slower.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 0))
    if not workers or "OMP_NUM_THREADS" in os.environ:
        return
    share = max(1, cores() // workers)
    os.environ["OMP_NUM_THREADS"] = str(share)
    # A conftest may have imported torch, which has read the environment by then.
    set_threads(share)


def share_devices(config: pytest.Config, device: str) -> None:
    """Give an xdist worker one accelerator of its own, where the run names none by number."""
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    if device != "cuda" or not worker:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        import torch

        # Counting them starts nothing on them, so that the variable still holds afterwards.
        visible = ",".join(map(str, range(torch.cuda.device_count())))
    one = device_of(worker, visible)
    if one:
        os.environ["CUDA_VISIBLE_DEVICES"] = one


def device_of(worker: str, visible: str) -> str:
    """Return the accelerator of a worker: workers take those that are visible in turn.

    Parameters
    ----------
    worker : str
        Its id, ``gw0`` and so on.
    visible : str
        As ``CUDA_VISIBLE_DEVICES`` lists them.
    """
    devices = [name.strip() for name in visible.split(",") if name.strip()]
    number = int(worker.removeprefix("gw"))
    return devices[number % len(devices)] if devices else ""


def start_engine(
    config: pytest.Config, harness: Harness, needs: list[Need], engine: str
) -> Engine | None:
    """Start what measures models besides this process.

    On this machine that is a worker on the models at the end of the list, where that pays.

    Raises
    ------
    RefutableError
        If a cluster that was asked for cannot be reached.
    """
    if config.getoption("numprocesses", None):
        return None
    started: Engine | None
    if engine == LOCAL:
        from refutable.measurement.prefetch import start

        started = start(harness, needs)
    else:
        from refutable.measurement.engine import RemoteEngine
        from refutable.measurement.ray_pool import RayPool

        # A run on a cluster is long: a line a model is told with -q, too.
        tell = partial(say_line, config, least=-1)
        pool = RayPool(engine, tell)
        # Before any task is handed over: an error on the way must not leave tasks behind.
        config.add_cleanup(pool.close)
        started = remote = RemoteEngine(harness, pool, tell)
        remote.start(needs)
    if started is not None:
        # Whatever else happens, it ends with this run.
        config.add_cleanup(started.end)
    return started


def say_line(config: pytest.Config, line: str, *, least: int = 0) -> None:
    """Print a line of progress, past pytest's capture.

    Parameters
    ----------
    config : pytest.Config
        Of the run.
    line : str
        What to print.
    least : int
        Verbosity below which nothing is printed: 0 is none of ``-q`` and ``-v``, -1 is ``-q``.
    """
    if config.get_verbosity() < least:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return
    if capture is None:
        reporter.write_line(f"  {line}", cyan=True)
        return
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_line(f"  {line}", cyan=True)
