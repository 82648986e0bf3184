"""Tensors of a checkpoint, a few rows at a time, whatever its format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import EllipsisType, TracebackType
from typing import Protocol, Self

import torch

from refutable.models.checkpoint import Checkpoint

FLOATS = ("F64", "F32", "F16", "BF16")
"""safetensors' names of the types that hold weights as they are."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class FileSlice(Protocol):
    """A tensor that safetensors reads when it is asked for."""

    def get_shape(self) -> list[int]:
        """Sizes."""

    def get_dtype(self) -> str:
        """Type by its name in the file, such as ``F32``."""

    def __getitem__(self, place: slice | EllipsisType, /) -> torch.Tensor:
        """Read a part of it."""


Slice = torch.Tensor | FileSlice


class HeldTensors:
    """Opens the weight files of a checkpoint; reads nothing but what is asked for.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its files; pickled ones are mapped into memory, never run.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._stack = ExitStack()
        self._slices: dict[str, Slice] = {}
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self.types: Mapping[str, str] = {}
        self.contradicting: list[str] = []
        """Tensors that lie in several files, with other numbers in each."""

    def __enter__(self) -> Self:
        """Open the files and list what they hold."""
        for path in self._checkpoint.weights:
            if self._checkpoint.safe:
                from safetensors import safe_open

                opened = self._stack.enter_context(safe_open(path, framework="pt"))
                self._add({name: opened.get_slice(name) for name in opened.keys()})
            else:
                loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                self._add({n: t for n, t in loaded.items() if isinstance(t, torch.Tensor)})
        self.shapes = {name: _shape(item) for name, item in self._slices.items()}
        self.types = {name: _type(item) for name, item in self._slices.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them."""
        self._slices = {}
        self._stack.close()

    def _add(self, of_file: Mapping[str, Slice]) -> None:
        for name in set(of_file) & set(self._slices):
            if not torch.equal(self._slices[name][...], of_file[name][...]):
                self.contradicting.append(name)
        self._slices |= of_file

    def __contains__(self, name: object) -> bool:
        return name in self._slices

    def whole(self, name: str) -> torch.Tensor:
        """Return a tensor."""
        tensor: torch.Tensor = self._slices[name][...]
        return tensor

    def rows(self, name: str, indices: Sequence[int]) -> torch.Tensor:
        """Return some entries along a tensor's first dimension."""
        item = self._slices[name]
        return torch.cat([item[place : place + 1] for place in indices])


def _shape(item: Slice) -> tuple[int, ...]:
    shape = item.shape if isinstance(item, torch.Tensor) else item.get_shape()
    return tuple(int(n) for n in shape)


def _type(item: Slice) -> str:
    if not isinstance(item, torch.Tensor):
        return item.get_dtype()
    return _NAMES.get(item.dtype, str(item.dtype).removeprefix("torch."))


def missing_expert(checkpoint: Checkpoint) -> str:
    """Name tensors of numbered parts that other parts of the checkpoint have; empty without any.

    Where a class merges the experts of a layer, one that lacks a matrix stops the merge.
    """
    numbers: dict[str, set[tuple[int, ...]]] = {}
    try:
        with HeldTensors(checkpoint) as held:
            for name in held.types:
                place = tuple(int(n) for n in _NUMBER.findall(name))
                if len(place) > 1:
                    numbers.setdefault(_NUMBER.sub("#", name), set()).add(place)
    # A damaged file is told of by what it raises on loading.
    except Exception:
        return ""
    alike: dict[str, set[tuple[int, ...]]] = {}
    for pattern, experts in numbers.items():
        alike.setdefault(pattern.rpartition(".#.")[0], set()).update(experts)
    lost = [
        _fill(pattern, place)
        for pattern, experts in numbers.items()
        for place in sorted(alike[pattern.rpartition(".#.")[0]] - experts)
    ]
    return f"it lacks {', '.join(lost[:3])}" if lost else ""


def _fill(pattern: str, numbers: tuple[int, ...]) -> str:
    for number in numbers:
        pattern = pattern.replace("#", str(number), 1)
    return pattern
