"""Untrained weights of a config, drawn a module at a time: a null without a whole model."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import NotAvailableError
from refutable.models.weights.files import Stored, pieces
from refutable.models.weights.room import Room

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel

    Floats = NDArray[np.float32]

_DRAWING = threading.Lock()


class FreshTensors:
    """Tensors as the model class itself initialises them.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        On the meta device, from `roles.meta_model`; copies of one config may share it.
    seed : int
        Seed of the copy; every module draws from a seed of its own made from it.
    room : Room, optional
        Where memory comes from.

    Notes
    -----
    The class's own rule is applied to one part of a block (attention, feed-forward, a norm), or one
    module outside the blocks, at a time. So rules that look at a whole part, as GPT-2's smaller
    scale for what writes into the residual stream, hold. Only the last part drawn is kept.
    """

    def __init__(self, model: PreTrainedModel, seed: int, room: Room | None = None) -> None:
        from refutable.models.structure import find_structure

        self._model = model
        self._blocks = find_structure(self._model).blocks_path
        self._seed = seed
        self._room = room or Room()
        self._unit = ""
        self._held: dict[str, Floats] = {}
        self._reading = threading.Lock()
        self._stored = {
            name: Stored(name, tuple(p.shape), "F32") for name, p in self._model.named_parameters()
        }

    @property
    def stored(self) -> Mapping[str, Stored]:
        """Every unique parameter, by name."""
        return self._stored

    def flat(self, name: str, start: int, stop: int) -> Floats:
        """Elements `start` to `stop` of a parameter."""
        unit = self._unit_of(name)
        # Threads that look at matrices side by side share a copy and the part that it holds.
        with self._reading:
            if unit != self._unit:
                # The part before is let go first: two of a wide model are half a gigabyte.
                self._held = {}
                self._held = self._draw(unit)
                self._unit = unit
            tensor = self._held[name]
        return tensor.reshape(-1)[start:stop]

    def _unit_of(self, name: str) -> str:
        owner = name.rpartition(".")[0]
        if not name.startswith(f"{self._blocks}."):
            return self._outside(owner)
        depth = self._blocks.count(".") + 3  # the list of blocks, the block, its part
        return ".".join(owner.split(".")[:depth])

    def _outside(self, owner: str) -> str:
        """Return the part that holds a module outside the blocks: rules look at whole heads."""
        from transformers import PreTrainedModel

        parts = owner.split(".")
        part = owner
        for at in range(len(parts)):
            if isinstance(self._model.get_submodule(".".join(parts[:at])), PreTrainedModel):
                part = ".".join(parts[: at + 1])
        return owner if f"{self._blocks}.".startswith(f"{part}.") else part

    def _draw(self, unit: str) -> dict[str, Floats]:
        import torch

        module = self._model.get_submodule(unit)
        # torch's generator is one for all threads, and so is the model.
        with _DRAWING, torch.random.fork_rng(devices=[]), torch.no_grad():
            _fill(module, self._room)
            torch.manual_seed(zlib.crc32(f"{self._seed}:{unit}".encode()))
            self._initialise(module)
            held = {f"{unit}.{n}": p.detach().numpy() for n, p in module.named_parameters()}
            module.to(device="meta")
        unset = [
            name
            for name, values in held.items()
            if any(np.isnan(piece).any() for piece in pieces(values))
        ]
        if unset:
            # Set in a constructor, which a part drawn alone does not run: the memory would be
            # whatever it held.
            raise NotAvailableError(
                f"no untrained copy: {type(self._model).__name__} draws {unset[0]} in its "
                "constructor and not in _init_weights"
            )
        return held

    def _initialise(self, module: nn.Module) -> None:
        # Children first, as transformers does: a block's own rule overrides its parts'.
        for child in module.children():
            self._initialise(child)
        self._model._init_weights(module)


def _fill(module: nn.Module, memory: Room) -> None:
    """Give a part on the meta device memory: NaN in every parameter, buffers as they come.

    The memory is numpy's, which asks for huge pages: torch's, taken page by page, costs half as
    much again as drawing the numbers that go into it.
    """
    import torch

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                values = memory.empty(parameter.numel()).reshape(tuple(parameter.shape))
                values.fill(np.nan)
                filled = torch.nn.Parameter(torch.from_numpy(values), requires_grad=False)
                part._parameters[name] = filled
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty_like(buffer, device="cpu")
