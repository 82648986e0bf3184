"""A run on a ray cluster of several nodes on this machine: the evidence is the same, none is lost.

pip install "refutable[ray]" && pytest tool/tests/plugin/test_ray.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refutable.evidence.json import read
from refutable.report.freshness import without_volatile

ray = pytest.importorskip("ray", reason="ray is not installed (70 MB): the extra `ray` brings it")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

TWINS = tuple(
    f"twin-{kind}-0"
    for kind in (
        "layernorm-both",
        "layernorm-attention",
        "layernorm-ffn",
        "rmsnorm-both",
        "rmsnorm-attention",
        "rmsnorm-ffn",
        "none",
        "layernorm-both-no-positions",
    )
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores; tests add machines of one core each."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield started
    started.shutdown()


def verify(folder: Path, *words: str, address: str = "") -> subprocess.Popen[str]:
    """Start `refutable verify` on the twins, with a store of its own."""
    command = [
        *("verify", "gain.norm-kind-decides", "gain.register-*", "--prompts", "five-registers"),
        *(word for twin in TWINS for word in ("--model", twin)),
        *("--arm", "no-bos", "--out", str(folder / "out"), *words),
    ]
    env = {**os.environ, "REFUTABLE_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", "from refutable.cli.app import main; main()", *command],
        env={**env, "RAY_ADDRESS": address} if address else env,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def evidence_of(folder: Path, run: subprocess.Popen[str], *, told: bool = False) -> Any:
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said
    if told:
        assert [said.count(f"{twin}: ") for twin in TWINS] == [1] * len(TWINS), said
    evidence = read(folder / "out" / "evidence.json")
    assert {model.id for model in evidence.models} == set(TWINS)
    assert not any(model.error for model in evidence.models)
    return without_volatile(evidence)


def workers() -> list[int]:
    """Numbers of the processes that ray lets measure parts now."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    rows = (line.strip().partition(" ") for line in listed.stdout.splitlines())
    # ray names a worker by its task, which is named by the model.
    return [int(pid) for pid, _, what in rows if what.startswith("ray::twin-")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run without a cluster finds."""
    folder = tmp_path_factory.mktemp("local")
    return evidence_of(folder, verify(folder))


def grown(cluster: Any, machines: int) -> str:
    """Let the cluster have so many machines beside its head, and return its address."""
    for _ in range(machines + 1 - len(cluster.list_all_nodes())):
        cluster.add_node(num_cpus=1)
    return str(cluster.address)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_evidence_is_the_same_however_many_workers(
    cluster: Any, expected: Any, tmp_path: Path, count: int
) -> None:
    address = grown(cluster, count)
    started = time.monotonic()
    run = verify(tmp_path, "--engine", "ray", address=address)
    evidence = evidence_of(tmp_path, run, told=True)
    costs = read(tmp_path / "out" / "evidence.json").models
    spent = sum(cost.seconds for model in costs for cost in model.costs)
    print(
        f"{count} workers: {time.monotonic() - started:.1f} s, {spent:.1f} s in tasks", flush=True
    )
    assert evidence == expected


def test_a_worker_that_is_killed_loses_nothing(cluster: Any, expected: Any, tmp_path: Path) -> None:
    run = verify(tmp_path, "--engine", "ray", address=grown(cluster, 2))
    killed: list[int] = []

    def kill() -> None:
        while run.poll() is None and not killed:
            for pid in workers()[:1]:
                time.sleep(0.5)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    evidence = evidence_of(tmp_path, run)
    killer.join()
    assert killed
    assert evidence == expected


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    run = verify(tmp_path, "--engine", "ray", address="127.0.0.1:1")
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 4, said
    assert "no ray cluster at 127.0.0.1:1" in said
    assert "Traceback" not in said
