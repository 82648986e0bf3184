"""What is measured, how often, and what a run that was cut short or repeated leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open
from support.projects import claim_source, counting, evidence, loads, module, settled

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")

ENTROPY = claim_source(
    "entropy",
    predicts="mean.within(0.0, 5.0)",
    observable="next_token_entropy",
    body="return next_token_entropy",
)
TEN = module(
    *(claim_source(f"above_{n}", predicts=f"mean.above({n / 100})") for n in range(8)),
    claim_source("controlled", more="control=untrained(seeds=2),"),
    ENTROPY,
)


def stored(project: pytest.Pytester, cache: str = "cache") -> set[tuple[str, str]]:
    """(observable, role) of every array in the store."""
    measured = set()
    for path in (project.path / cache / "observations").rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            key = json.loads(file.metadata()["refutable"])["key"]
        measured.add((key["observable"], key["role"]))
    return measured


def test_ten_claims_cost_one_measuring_and_a_selection_only_its_own(
    project: pytest.Pytester, models: Path
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=TEN)
    model = f"--claim-model={models / 'little'}"

    project.runpytest_inprocess(model, "--collect-only").stdout.fnmatch_lines(["*10 tests*"])
    assert stored(project) == set()

    by_name = project.runpytest_inprocess(model, "-k", "entropy")
    by_name.assert_outcomes(passed=1, deselected=9)
    measured = {name for name, role in stored(project) if role == ""}
    assert "next_token_entropy" in measured
    assert "residual_norm" not in measured
    assert not [role for _, role in stored(project) if role.startswith("untrained")]

    by_id = project.runpytest_inprocess(model, "--claim-id=gain.above-*")
    by_id.assert_outcomes(passed=8, deselected=2)
    assert ("residual_norm", "") in stored(project)
    assert not [role for _, role in stored(project) if role.startswith("untrained")]
    assert loads(log) == ["little", "little"]

    everything = project.runpytest_inprocess(model)
    everything.assert_outcomes(passed=10)
    assert loads(log) == ["little"] * 3
    roles = {role for name, role in stored(project) if name == "residual_norm"}
    assert {"", "untrained-0", "untrained-1"} <= roles

    os.environ["REFUTABLE_CACHE"] = str(project.path / "afresh")
    project.runpytest_inprocess(model).assert_outcomes(passed=10)
    assert loads(log) == ["little"] * 4
    project.runpytest_inprocess(model).assert_outcomes(passed=10)
    assert loads(log) == ["little"] * 4
    assert {m["origin"] for m in evidence(project)["models"]} == {"store"}
    assert {r["source"] for r in evidence(project)["results"]} == {"store"}


def run(project: pytest.Pytester, *words: str, cache: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=project.path,
        env={**os.environ, "REFUTABLE_CACHE": str(project.path / cache)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_two_workers_measure_each_model_once_and_leave_the_same(
    project: pytest.Pytester, models: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    serial, parallel = project.path / "serial.txt", project.path / "parallel.txt"
    pair = claim_source("differs", predicts='contrast("little", "other").above(0.0)')
    project.makepyfile(test_mine=TEN + pair)
    words = ("-v", f"--claim-model={models / 'little'}", f"--claim-model={models / 'other'}")
    project.makeconftest(DATA + counting(serial))
    one = project.runpytest_inprocess(*words, "--claim-out=one")
    project.makeconftest(DATA + counting(parallel))
    monkeypatch.setenv("REFUTABLE_CACHE", str(project.path / "another"))
    two = project.runpytest_inprocess(*words, "--claim-out=two", "-n", "2")
    assert two.ret == one.ret == 0
    assert loads(serial) == ["little", "other"]
    assert sorted(loads(parallel)) == ["little", "other"]
    two.assert_outcomes(passed=21)
    assert settled(evidence(project, "two")) == settled(evidence(project, "one"))
    frames = [
        pd.read_parquet(project.path / out / "observations.parquet") for out in ("one", "two")
    ]
    pd.testing.assert_frame_equal(*frames)
    assert len(frames[0]) > 20 * 30
    # The terminal says the same about every cell.
    lines = {line for line in one.stdout.lines if line.startswith("CONFIRMED")}
    assert len(lines) == 21
    assert lines <= set(two.stdout.lines)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(project: pytest.Pytester, models: Path) -> None:
    import pandas as pd

    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=TEN)
    words = (f"--claim-model={models / 'little'}", f"--claim-model={models / 'other'}")
    (project.path / "stall-other").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words, "--claim-out=resumed"],
        cwd=project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not (project.path / "stalled").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert loads(log) == ["little", "other"]
    assert not (project.path / "resumed" / "evidence.json").exists()

    again = project.runpytest_inprocess(*words, "--claim-out=resumed")
    again.assert_outcomes(passed=20)
    assert loads(log) == ["little", "other", "other"]
    resumed = evidence(project, "resumed")
    assert {m["id"]: m["origin"] for m in resumed["models"]} == {"little": "store", "other": "live"}

    os.environ["REFUTABLE_CACHE"] = str(project.path / "undisturbed-cache")
    project.runpytest_inprocess(*words, "--claim-out=undisturbed").assert_outcomes(passed=20)
    assert settled(resumed) == settled(evidence(project, "undisturbed"))
    frames = [
        pd.read_parquet(project.path / out / "observations.parquet")
        for out in ("resumed", "undisturbed")
    ]
    pd.testing.assert_frame_equal(*frames)


def test_rows_of_another_run_stay_its_own(project: pytest.Pytester, models: Path) -> None:
    import pandas as pd

    project.makepyfile(test_mine=module(claim_source("grows"), ENTROPY))
    model = f"--claim-model={models / 'little'}"
    shards = project.path / "reports" / "latest" / ".shards"
    # Rows that the workers of two other runs have left: one is at work, one was killed long ago.
    columns = ["claim", "model", "prompts", "arm", "quantity", "control", "prompt", "layer"]
    left = pd.DataFrame([["gain.entropy", "little", "mine", "no-bos", "value", None, "f0/0", None]])
    left.columns = columns
    for run in ("at-work", "killed"):
        (shards / run).mkdir(parents=True)
        left.assign(head=None, value=99.0).to_parquet(shards / run / "0123.parquet")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(shards / "killed", (long_ago, long_ago))
    project.runpytest_inprocess(model, "-k", "grows").assert_outcomes(passed=1, deselected=1)
    rows = pd.read_parquet(project.path / "reports" / "latest" / "observations.parquet")
    assert set(rows["claim"].dropna()) == {"gain.grows"}
    assert not (rows["value"] == 99.0).any()
    assert [path.name for path in shards.glob("*/*")] == ["0123.parquet"]
    assert [path.name for path in shards.iterdir()] == ["at-work"]


HEAVY = ("torch", "transformers", "matplotlib", "scipy.stats", "xarray", "pandas")
TELL = """
import sys
import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    print("imported:", *(name for name in {heavy!r} if name in sys.modules))
"""


def imported(text: str) -> set[str]:
    (line,) = (line for line in text.splitlines() if line.startswith("imported:"))
    return set(line.split()[1:])


@pytest.mark.slow
def test_a_warm_run_and_a_collection_import_no_torch(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=TEN)
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model).assert_outcomes(passed=10)
    cold = settled(evidence(project))
    project.makeconftest(DATA + TELL.format(heavy=HEAVY))
    warm = run(project, model, cache="cache")
    assert "10 passed" in warm.stdout, warm.stdout + warm.stderr
    assert not imported(warm.stdout) & {"torch", "transformers", "matplotlib"}
    assert settled(evidence(project)) == cold
    # Collecting needs neither the models nor what would measure them.
    collected = run(project, "--claim-model=no/such-model", "--collect-only", cache="empty")
    assert collected.returncode == 0, collected.stdout + collected.stderr
    assert not imported(collected.stdout) & {"torch", "transformers", "matplotlib", "pandas"}


@pytest.mark.parametrize(
    "code", ["import refutable", "import pytest; pytest.main(['--help'])"], ids=["import", "help"]
)
def test_a_start_imports_nothing_heavy(project: pytest.Pytester, code: str) -> None:
    code = f"{code}\nimport sys\nprint('imported:', *(n for n in {HEAVY!r} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.path, capture_output=True, text=True, check=True
    )
    assert imported(done.stdout) == set()
    if "--help" in code:
        assert "--claim-update-baseline" in done.stdout
