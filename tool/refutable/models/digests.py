"""SHA-256 of files, remembered: by what they hold, not by their size and time alone. No torch."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from refutable.errors import ModelError
from refutable.system import files
from refutable.system.paths import cache_dir

_CHUNK = 1 << 22
_SMALL = 1 << 26
"""Bytes up to which a file is read whole each time it is looked at anew."""
_SAMPLES = 256
_SAMPLE = 1 << 12
_TICK = 1.0
"""Seconds after a change within which another could carry the same time."""

_SEEN: dict[tuple[str | int, ...], str] = {}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file.

    Parameters
    ----------
    path : pathlib.Path
        A link is followed.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ModelError
        If the hub's cache keeps the file under a SHA-256 that is not its own.

    Notes
    -----
    A release can be replaced in place by another of equal size and time of change (containers,
    ``tar``, ``rsync -t``, ``cp -p``), so these prove nothing. Up to 64 MB a file is read whole. A
    larger one is read whole once and then known by its inode, size, times (that of the change of
    its inode, which no program can set, among them) and 256 samples of its content.
    """
    real = path.resolve()
    digest = _digest(real)
    # The hub's cache names a large file by its SHA-256.
    if real.parent.name == "blobs" and len(real.name) == 64 and real.name != digest:
        raise ModelError(
            f"{path} is not the file that the hub's cache took it for (its SHA-256 is "
            f"{digest[:12]}..., its name {real.name[:12]}...): delete it and download again"
        )
    return digest


def _digest(real: Path) -> str:
    state = real.stat()
    inode = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    key = (str(real), *inode)
    settled = time.time() - state.st_ctime > _TICK
    if settled and key in _SEEN:
        return _SEEN[key]
    digest = _whole(real) if state.st_size <= _SMALL else _remembered(real, key, settled)
    if settled:
        _SEEN[key] = digest
    return digest


def _remembered(real: Path, key: tuple[str | int, ...], settled: bool) -> str:
    """Digest of a large file: from what is kept between runs, when its samples are the same."""
    name = hashlib.sha256("\n".join(map(str, (*key, _samples(real)))).encode()).hexdigest()
    kept = cache_dir() / "digests" / name
    if settled and kept.is_file():
        text = kept.read_text(encoding="ascii").strip()
        if len(text) == 64:
            return text
    digest = _whole(real)
    if settled:
        files.write(kept, digest)
    return digest


def _whole(real: Path) -> str:
    digest = hashlib.sha256()
    with real.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _samples(real: Path) -> str:
    digest = hashlib.sha256()
    size = real.stat().st_size
    with real.open("rb", buffering=0) as stream:
        for at in range(_SAMPLES):
            stream.seek((size - _SAMPLE) * at // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()
