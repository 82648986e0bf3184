"""A second process measures small models, and leaves them in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from refutable import ahead
from refutable.capture.committed import Committed
from refutable.capture.store import Store
from refutable.catalogue import find_claim
from refutable.laboratory import Laboratory, Need, Settings
from refutable.paths import cache_dir, fixtures
from refutable.prompts import load_prompts

TWINS = ("twin-layernorm-both-0", "twin-rmsnorm-both-0", "twin-none-0")
ABSENT = "twin-rmsnorm-both-3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    return tmp_path


def laboratory(models: tuple[str, ...]) -> tuple[Laboratory, list[Need]]:
    prompts = {"five-registers": load_prompts("five-registers", [fixtures() / "prompts"])}
    lab = Laboratory(
        Store(cache_dir() / "observations"),
        prompts.__getitem__,
        Settings(),
        committed=Committed(fixtures() / "twins" / "observations.safetensors"),
    )
    claim = find_claim("gain.norm-kind-decides")
    needs = [Need(claim, model, "five-registers", "no-bos", controlled=False) for model in models]
    lab.plan(needs)
    return lab, needs


def test_what_it_measured_is_read_from_the_store(folder: Path) -> None:
    lab, needs = laboratory(TWINS)
    process = ahead.start(lab, needs)
    assert process is not None
    assert process.wait(timeout=120) == 0
    again, needs = laboratory(TWINS)
    for need in needs:
        assert again.subject(need).observations["log_growth"].sizes["prompt"] == 25
        report = again.report(need.model)
        assert report is not None
        assert report.origin == "store"
    # Nothing is left to measure, so no process is started again.
    assert ahead.start(again, needs) is None


def test_it_is_not_started_where_it_does_not_pay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two models, and one whose observations are committed.
    assert ahead.start(*laboratory((*TWINS[:2], ABSENT))) is None
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 1)
    assert ahead.start(*laboratory(TWINS)) is None
