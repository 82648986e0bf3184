"""Tensors of a checkpoint, one at a time: where they lie and how to read them without torch.

A safetensors file is an eight-byte length, a JSON header with the type, shape and byte range of
every tensor, and the bytes. The ``safetensors`` library gives numpy no bfloat16, so the header is
read here and the bytes are widened to float32 on the way in.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from refutable.errors import ModelError
from refutable.models.weights.room import Room

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CHUNK = 1 << 22
"""Elements read at once where a tensor need not be whole (16 MB of float32)."""

_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_HEADER_LIMIT = 100_000_000
_PIECE = 1 << 19
"""Elements that are widened while a processor's cache holds them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as a checkpoint holds it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """safetensors' name of the type: ``F32``, ``F16``, ``BF16``, ``F64``, ..."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in the file; 0 for a type that holds no weights."""
        return self.size * _WIDTH.get(self.dtype, 0)


class Tensors(Protocol):
    """Where a reader takes tensors from."""

    @property
    def stored(self) -> Mapping[str, Stored]:
        """What there is, by name."""

    def flat(self, name: str, start: int, stop: int) -> Floats:
        """Elements `start` to `stop` of a tensor in row-major order, as float32."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    offset: int


class SafetensorsFiles:
    """Tensors of one or several safetensors files.

    Parameters
    ----------
    files : sequence of Path
        All shards of a checkpoint.

    Raises
    ------
    ModelError
        If a file is missing, truncated, no safetensors file, or repeats a tensor of another.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.room = Room()
        self._stored: dict[str, Stored] = {}
        self._located: dict[str, _Place] = {}
        for file in files:
            self._add(file)

    @property
    def stored(self) -> Mapping[str, Stored]:
        """What the files hold, by name."""
        return self._stored

    def _add(self, file: Path) -> None:
        begin, header = _header(file)
        room = file.stat().st_size - begin
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if name in self._stored:
                raise ModelError(f"{file.name} repeats the tensor {name} of another shard")
            tensor = Stored(name, tuple(entry["shape"]), entry["dtype"])
            low, high = entry["data_offsets"]
            if high > room or (tensor.bytes and high - low != tensor.bytes):
                raise ModelError(f"{file} is truncated or damaged at {name}: fetch it again")
            self._stored[name] = tensor
            self._located[name] = _Place(file, begin + low)

    def flat(self, name: str, start: int, stop: int) -> Floats:
        """Elements `start` to `stop` of a tensor, widened (or narrowed) to float32."""
        tensor, place = self._stored[name], self._located[name]
        width = _WIDTH.get(tensor.dtype)
        if width is None:
            raise ModelError(
                f"tensor {name} has type {tensor.dtype}: weights are read from F64, F32, F16 and "
                "BF16; convert the checkpoint"
            )
        kind = np.dtype(_NUMPY.get(tensor.dtype, np.uint16)).newbyteorder("<")
        numbers = self.room.empty(stop - start)
        _read(place, kind, start, numbers)
        return numbers


def _read(place: _Place, kind: np.dtype[Any], start: int, into: Floats) -> None:
    """Read numbers of some type into float32: no second copy of a tensor is ever in memory."""
    piece = np.empty(min(into.size, _PIECE), kind)
    with place.file.open("rb", buffering=0) as handle:
        handle.seek(place.offset + start * kind.itemsize)
        for low in range(0, into.size, _PIECE):
            part = piece[: into.size - low]
            left = part.view(np.uint8).data
            while left:
                got = handle.readinto(left)
                if not got:
                    raise ModelError(f"{place.file} ends too early: fetch the model again")
                left = left[got:]
            out = into[low : low + part.size]
            if kind.kind == "u":
                # bfloat16 is the upper half of a float32.
                np.left_shift(part, 16, out=out.view(np.uint32), dtype=np.uint32)
            else:
                out[:] = part


def _header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    try:
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > _HEADER_LIMIT:
                raise ValueError
            header: dict[str, dict[str, Any]] = json.loads(handle.read(length))
    except FileNotFoundError:
        raise ModelError(f"no file {file}: fetch the model again") from None
    except (OSError, ValueError, struct.error):
        raise ModelError(f"{file} is no readable safetensors file: fetch the model again") from None
    return 8 + length, header


class StateDict:
    """Tensors that are in memory already, as an untrained copy's are.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        As ``model.state_dict()`` gives it.
    """

    _NAMES: Mapping[str, str] = {
        "torch.float64": "F64",
        "torch.float32": "F32",
        "torch.float16": "F16",
        "torch.bfloat16": "BF16",
    }

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        # A tied tensor is in the state under each of its names; it is held once.
        first: dict[tuple[int, tuple[int, ...]], str] = {}
        for name, tensor in state.items():
            first.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name)
        self._state = {name: state[name] for name in first.values()}
        self._stored = {
            name: Stored(name, tuple(t.shape), self._NAMES.get(str(t.dtype), str(t.dtype)))
            for name, t in self._state.items()
        }

    @property
    def stored(self) -> Mapping[str, Stored]:
        """What the state holds, by name."""
        return self._stored

    def flat(self, name: str, start: int, stop: int) -> Floats:
        """Elements `start` to `stop` of a tensor as float32."""
        part = self._state[name].detach().reshape(-1)[start:stop]
        numbers: Floats = part.float().cpu().numpy()
        return numbers


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a model folder: all shards its index names, or the one.

    Raises
    ------
    ModelError
        If the folder holds none, or the index is unreadable.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise ModelError(f"{index} is unreadable: fetch the model again") from None
        return tuple(folder / name for name in names)
    single = folder / "model.safetensors"
    files = (single,) if single.is_file() else tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        raise ModelError(f"no safetensors file in {folder}: weights are read from safetensors")
    return files


def pieces(values: Floats) -> Iterator[Floats]:
    """Give an array in flat pieces that a processor's cache holds."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE]


def chunks(tensors: Tensors, name: str, size: int = CHUNK) -> Iterator[Floats]:
    """Give a tensor in pieces of at most `size` elements, in row-major order."""
    total = tensors.stored[name].size
    for start in range(0, total, size):
        yield tensors.flat(name, start, min(start + size, total))
