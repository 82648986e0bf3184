"""Writing the committed observations: what would be lost or could not be written is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from refutable.cli.commit import observe_twins
from refutable.errors import RefutableError
from refutable.models.registry import resolve
from refutable.models.sources import locate
from refutable.store.committed import Committed
from refutable.system.paths import fixtures

COMMITTED = fixtures() / "twins" / "observations.safetensors"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which a single twin was trained."""
    shipped = locate(resolve("twin-none-0")).folder
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(shipped, tmp_path / "cache" / "twins" / "none-0" / "checkpoint")
    return tmp_path


def test_models_that_were_not_trained_here_are_not_lost(trained: Path) -> None:
    whole = trained / "observations.safetensors"
    shutil.copy(COMMITTED, whole)
    others = len(Committed(COMMITTED).models) - 1
    assert others > 40
    said: list[str] = []
    with pytest.raises(RefutableError, match=f"holds {others} models that were not trained here"):
        observe_twins(whole, said.append)
    # Nothing was measured, and the file is as it was.
    assert said == []
    assert whole.read_bytes() == COMMITTED.read_bytes()


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(trained: Path) -> None:
    (trained / "taken").write_text("a file")
    said: list[str] = []
    with pytest.raises(RefutableError, match=r"cannot write to .*taken"):
        observe_twins(trained / "taken" / "observations.safetensors", said.append)
    assert said == []


def test_without_a_trained_twin_there_is_nothing_to_observe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    with pytest.raises(RefutableError, match=r"no trained twin in .*: run `refutable train twins`"):
        observe_twins(tmp_path / "observations.safetensors", print)
