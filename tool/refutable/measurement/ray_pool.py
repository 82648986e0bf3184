"""Workers of a ray cluster: one task a model, arm and set of prompts.

The cluster runs already, started by `ray start` or by whatever manages the machines; on each of
them this package is installed in the same versions. A task asks for one core (more where
``OMP_NUM_THREADS`` says so), for the memory that its model takes, and for one GPU where the run
names one. ray runs a task again when its worker or its machine is lost.
"""

from __future__ import annotations

import importlib
import os
import socket
from types import ModuleType
from typing import TYPE_CHECKING

from refutable.errors import RefutableError, one_line
from refutable.measurement.engine import Pool, Tell
from refutable.measurement.part import MeasuredPart, Part
from refutable.measurement.remote import measure_part

if TYPE_CHECKING:
    from ray import ObjectRef

TRIES = 3
"""How often a task is run again whose worker was lost."""
PREFIX = "ray"
_PATIENCE = 10.0
"""Seconds in which a cluster must answer."""


class RayPool(Pool["ObjectRef"]):
    """The tasks of one run on a cluster.

    Parameters
    ----------
    engine : str
        ``ray`` for the cluster that ``RAY_ADDRESS`` names or that runs on this machine, or
        ``ray://HOST:PORT``.
    tell : callable
        Told in a line what keeps tasks waiting.

    Raises
    ------
    RefutableError
        In one line, if ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, engine: str, tell: Tell) -> None:
        self._ray = _imported()
        self._tell = tell
        self._started_here = not self._ray.is_initialized()
        self._told: set[str] = set()
        if self._started_here:
            _connect(self._ray, engine)
        self._run = self._ray.remote(measure_part)

    def submit(self, part: Part) -> ObjectRef:
        """Queue a task."""
        gpus = 0 if part.settings.device == "cpu" else 1
        cores = int(os.environ.get("OMP_NUM_THREADS", "1"))
        asked = {"CPU": cores, "GPU": gpus, "memory": part.memory}
        if not self._fits(asked) and part.model not in self._told:
            self._told.add(part.model)
            size = f"{part.memory / 1e9:.1f} GB"
            self._tell(
                f"{part.model} waits for a machine with {cores} cores, {gpus} GPUs and {size} of "
                "memory: none of the cluster has them now (--claim-memory states less)"
            )
        options = {"num_cpus": cores, "num_gpus": gpus, "memory": part.memory}
        return self._run.options(**options, max_retries=TRIES, name=part.model).remote(part)

    def wait(self, handles: list[ObjectRef]) -> tuple[ObjectRef, MeasuredPart]:
        """Wait for the task that is done first."""
        (done, *_), _ = self._ray.wait(handles, num_returns=1)
        try:
            return done, self._ray.get(done)
        except self._ray.exceptions.RayError as problem:
            return done, MeasuredPart(
                error=f"its task on the ray cluster failed: {one_line(problem)} (a task whose "
                f"worker is lost is run again {TRIES} times)"
            )

    def close(self) -> None:
        """Leave the cluster; tasks that are not done are dropped with this."""
        if self._started_here and self._ray.is_initialized():
            self._ray.shutdown()

    def _fits(self, asked: dict[str, int]) -> bool:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return any(all(has.get(k, 0) >= n for k, n in asked.items()) for has in nodes)


def _imported() -> ModuleType:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise RefutableError(
            'ray is not installed: pip install "refutable[ray]", on every machine of the cluster'
        ) from None


def _connect(ray: ModuleType, engine: str) -> None:
    address = engine if engine != PREFIX else os.environ.get("RAY_ADDRESS", "auto")
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    # ray raises ConnectionError, RuntimeError, ValueError, and others of its own.
    except Exception as problem:
        raise RefutableError(
            f"no ray cluster at {address}: {one_line(problem)}: start one with `ray start --head`, "
            "or name it with --claim-engine ray://HOST:10001"
        ) from None


def _knock(address: str) -> None:
    """Fail at once where nobody listens: ray tries for minutes, and says so in pages."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
