"""What a checkpoint is follows from its content alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import checkpoints

from refutable.errors import ModelError
from refutable.models.identify import identify
from refutable.models.registry import resolve

pytestmark = pytest.mark.usefixtures("cache")

MASK = torch.tril(torch.ones(1, 1, 64, 64, dtype=torch.bool))


def rewrite(folder: Path, change: Any) -> None:
    """Replace the tensors of a saved model by what `change` makes of them."""
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    held = {name: value.contiguous().clone() for name, value in tensors.items()}
    save_file(held, path, metadata={"format": "pt"})


def digests(folder: Path) -> tuple[str, str]:
    identity = identify(resolve(str(folder)))
    return identity.weights_digest, identity.tokenizer_digest


# -- identity is by content ----------------------------------------------------------------------


def stamp(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, 0))


def test_a_release_replaced_in_place_is_another_model(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    stamp(tmp_path)
    before = (tmp_path / "model.safetensors").stat(), digests(tmp_path)
    rewrite(tmp_path, lambda held: {**held, "lm_head.weight": held["lm_head.weight"].flip(0)})
    stamp(tmp_path)
    after = (tmp_path / "model.safetensors").stat(), digests(tmp_path)
    assert before[0].st_size == after[0].st_size
    assert before[0].st_mtime_ns == after[0].st_mtime_ns
    assert before[1] != after[1]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_config_and_tokenizer_replaced_in_place_are_others(tmp_path: Path, name: str) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"a": 1}}')
    from refutable.models.sources import locate

    def measured() -> tuple[str, str]:
        checkpoint = locate(resolve(str(tmp_path)))
        return checkpoint.weights_digest, checkpoint.tokenizer_digest

    stamp(tmp_path)
    before = measured()
    path = tmp_path / name
    path.write_text(path.read_text().replace("1", "2"))
    stamp(tmp_path)
    assert measured() != before


def test_a_large_file_is_read_again_where_its_samples_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refutable.models import digests as module

    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(module, "_TICK", -1e9)
    monkeypatch.setattr(module, "_SEEN", {})
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(1 << 20))
    first = module.file_sha256(path)
    monkeypatch.setattr(module, "_SEEN", {})
    monkeypatch.setattr(module, "_whole", lambda real: "read whole again")
    assert module.file_sha256(path) == first
    monkeypatch.setattr(module, "_SEEN", {})
    path.write_bytes(os.urandom(1 << 20))
    assert module.file_sha256(path) == "read whole again"


def test_a_file_of_the_hubs_cache_must_be_what_its_name_says(tmp_path: Path) -> None:
    from refutable.models.digests import file_sha256

    blob = tmp_path / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the file that the hub's cache took it for"):
        file_sha256(blob)
