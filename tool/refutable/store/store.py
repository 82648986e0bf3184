"""Content-addressed store of measured arrays: what was measured once is read, not measured again.

Reading needs neither torch nor transformers. A file is one safetensors tensor with dimensions and
coordinates as JSON in its metadata; it appears whole (``os.replace``) or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.errors import one_line
from refutable.system import files

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.system.typing import Json

_FORMAT = "refutable.observation/1"
_TENSOR = "values"


@cache
def library_versions() -> tuple[str, str]:
    """Return the versions of torch and transformers without importing them.

    Returns
    -------
    tuple of str
        torch's, transformers'; empty where one is not installed.
    """

    def read(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    return read("torch"), read("transformers")


@dataclass(frozen=True, slots=True)
class ObservationKey:
    """Everything that a measured array depends on."""

    weights: str
    """Digest of the weights."""
    tokenizer: str
    """Digest of the tokenizer; empty without one."""
    prompts: str
    """Content hash of the prompt set."""
    arm: str
    observable: str
    version: int
    """Version of the observable."""
    dtype: str
    device: str
    """Device type, ``cpu`` or ``cuda``."""
    role: str = ""
    """A null control and its seed (``untrained-3``) or a run of the instrument check; empty for
    the model itself."""
    attention: str = ""
    """Attention implementation, where it is not the one that follows from the observable: patterns
    are read through ours, all else runs with what the model was loaded with."""
    extra: str = ""
    """What else changes the numbers, such as an intervention, in a stable form."""
    torch: str = field(default_factory=lambda: library_versions()[0])
    transformers: str = field(default_factory=lambda: library_versions()[1])

    def digest(self) -> str:
        """SHA-256 over all fields."""
        content = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a store holds."""

    files: int
    bytes: int


class Store:
    """Measured arrays by key.

    Parameters
    ----------
    root : path
        Folder of the store; it is made on the first write.

    Attributes
    ----------
    notes : list of str
        One line for each file that could not be read and was taken as a miss.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.notes: list[str] = []
        self._damaged: set[Path] = set()

    def path(self, key: ObservationKey, suffix: str = "safetensors") -> Path:
        """Where what belongs to a key lies, or would lie."""
        digest = key.digest()
        return self.root / "observations" / digest[:2] / f"{digest}.{suffix}"

    def __contains__(self, key: ObservationKey) -> bool:
        """Whether an array can be read; a file that was found damaged cannot."""
        path = self.path(key)
        return path not in self._damaged and path.is_file()

    def get(self, key: ObservationKey) -> xr.DataArray | None:
        """Read an array.

        Returns
        -------
        xarray.DataArray or None
            ``None`` when it was never measured, or when its file is damaged: then a line is added
            to `notes` and the file is left for the next `put` to replace.
        """
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            return _read(path, key)
        # Whatever is wrong with a damaged file, measuring again is the remedy.
        except Exception as error:
            self._note(key, path, error)
            return None

    def get_json(self, key: ObservationKey) -> dict[str, Json] | None:
        """Read a JSON object that `put_json` wrote; ``None`` as for `get`."""
        path = self.path(key, "json")
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_bytes())
            _check_header(content, key)
            value: dict[str, Json] = content["value"]
        except Exception as error:
            self._note(key, path, error)
            return None
        return value

    def put_json(self, key: ObservationKey, value: Mapping[str, Json]) -> None:
        """Write a JSON object, such as the notes of an instrument check."""
        content = {"format": _FORMAT, "key": asdict(key), "value": dict(value)}
        self._replace(self.path(key, "json"), json.dumps(content).encode())

    def _note(self, key: ObservationKey, path: Path, error: Exception) -> None:
        if path in self._damaged:
            return
        self._damaged.add(path)
        self.notes.append(
            f"stored {key.observable} ({key.digest()[:12]}) is damaged and is measured again: "
            f"{one_line(error)}"
        )

    def put(self, key: ObservationKey, array: xr.DataArray) -> None:
        """Write an array; a reader sees the old file or the new one, never a part."""
        from safetensors.numpy import save

        values, kind = to_tensor(np.asarray(array.values))
        header = {
            "format": _FORMAT,
            "key": asdict(key),
            "name": array.name,
            "dims": list(array.dims),
            "shape": list(array.shape),
            "kind": kind,
            "coords": {
                str(name): {"dims": list(coord.dims), **labels(coord.values)}
                for name, coord in array.coords.items()
            },
            "attrs": array.attrs,
        }
        content = save({_TENSOR: values}, metadata={"refutable": json.dumps(header)})
        self._replace(self.path(key), content)

    def _replace(self, path: Path, content: bytes) -> None:
        files.write(path, content)
        self._damaged.discard(path)

    def export(self) -> dict[str, bytes]:
        """Return the content of every file by its path from the root, for `take` elsewhere."""
        files = self._files()
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def take(self, exported: Mapping[str, bytes]) -> None:
        """Write what `export` of another store returned."""
        for name, content in exported.items():
            self._replace(self.root / name, content)

    def size(self) -> Usage:
        """Count files and bytes."""
        sizes = [path.stat().st_size for path in self._files()]
        return Usage(len(sizes), sum(sizes))

    def clear(self, **fields: str | int | None) -> Usage:
        """Delete arrays.

        Parameters
        ----------
        **fields
            Fields of `ObservationKey` that what is deleted must have, such as ``weights=...``;
            without any, everything goes, damaged files included.

        Returns
        -------
        Usage
            What was deleted.
        """
        unknown = set(fields) - set(ObservationKey.__dataclass_fields__)
        if unknown:
            raise TypeError(f"expected fields of a key, got {', '.join(sorted(unknown))}")
        count = freed = 0
        for path in self._files():
            if fields and not _matches(path, fields):
                continue
            freed += path.stat().st_size
            count += 1
            path.unlink(missing_ok=True)
        if not fields:
            # What a process that was killed had begun to write.
            for path in (self.root / "observations").glob(f"*/.*{files.SUFFIX}"):
                path.unlink(missing_ok=True)
        return Usage(count, freed)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock between processes, such as one per (model, prompts).

        The lock is the operating system's, so a killed process leaves none behind.
        """
        from filelock import FileLock

        with FileLock(self._lock_file(name)):
            yield

    def is_locked(self, name: str) -> bool:
        """Whether another process (or thread) holds a lock at this moment."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._lock_file(name), blocking=False):
                return False
        except Timeout:
            return True

    def _lock_file(self, name: str) -> Path:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        short = hashlib.sha256(name.encode()).hexdigest()[:12]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-")
        return folder / f"{slug}-{short}.lock"

    def _files(self) -> list[Path]:
        folder = self.root / "observations"
        return sorted([*folder.glob("*/*.safetensors"), *folder.glob("*/*.json")])


def _header(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return dict(json.loads(path.read_bytes()))
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    return dict(json.loads(metadata["refutable"]))


def _check_header(header: Mapping[str, Json], key: ObservationKey) -> None:
    if header["format"] != _FORMAT:
        raise ValueError(f"its format is {header['format']}, not {_FORMAT}")
    if header["key"] != asdict(key):
        raise ValueError("it belongs to another key")


def _read(path: Path, key: ObservationKey) -> xr.DataArray:
    import xarray as xr
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})["refutable"])
        _check_header(header, key)
        tensor = file.get_tensor(_TENSOR)
    values = from_tensor(tensor, header["kind"]).reshape(header["shape"])
    coords = {
        name: (coord["dims"], np.asarray(coord["values"], dtype=coord["dtype"]))
        for name, coord in header["coords"].items()
    }
    return xr.DataArray(
        values, dims=header["dims"], coords=coords, name=header["name"], attrs=header["attrs"]
    )


def _matches(path: Path, fields: Mapping[str, str | int | None]) -> bool:
    try:
        stored = _header(path)["key"]
    # Its key cannot be told, so it is not one of those asked for.
    except Exception:
        return False
    return all(stored.get(name) == value for name, value in fields.items())


def labels(values: NDArray[np.generic]) -> dict[str, Json]:
    """Return coordinate labels as JSON can hold them."""
    if values.dtype.kind in "OUT":
        values = values.astype(str)
    return {"dtype": values.dtype.str, "values": values.tolist()}


def to_tensor(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], str]:
    """Return a tensor that safetensors can hold; strings become rows of UTF-8 bytes."""
    if values.dtype.kind not in "OUT":
        return np.ascontiguousarray(values), values.dtype.str
    encoded = np.char.encode(values.astype(str), "utf-8")
    rows = np.frombuffer(encoded.tobytes(), dtype=np.uint8)
    return rows.reshape(*values.shape, max(encoded.dtype.itemsize, 1)), "str"


def from_tensor(values: NDArray[np.generic], kind: str) -> NDArray[np.generic]:
    """Return what `to_tensor` was given."""
    if kind != "str":
        return values
    rows = np.ascontiguousarray(values)
    decoded = rows.view(f"S{rows.shape[-1]}")[..., 0]
    return np.asarray(np.char.decode(decoded, "utf-8"))
