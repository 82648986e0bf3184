"""One short run of a model that shows how its blocks are wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.errors import ModelError, one_line
from refutable.models.placement import input_device
from refutable.models.stream import Entry, Passed, Stream, StreamFinder, copied, leaves
from refutable.models.structure import Structure

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

# No usual number of residual streams: a prompt of as many tokens would look like them.
_TOKENS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of one module: its first tensor argument and its first tensor result."""

    path: str
    module: nn.Module
    given: torch.Tensor | None
    made: torch.Tensor | None
    all_given: tuple[torch.Tensor, ...] = ()
    """Every tensor it got, in its own shape; kept of modules outside the blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What each block got, made, and called inside, in the order of the calls' ends."""

    given: tuple[torch.Tensor, ...]
    """Residual stream before each block, `(token, dim)`."""
    made: tuple[torch.Tensor, ...]
    """Residual stream after each block, `(token, dim)`."""
    inside: tuple[tuple[Call, ...], ...]
    after: tuple[Call, ...]
    """Calls of modules outside the blocks, after the last block."""
    stream: Stream
    """Where the residual stream was found."""
    tolerance: float


def first_tensor(values: object) -> torch.Tensor | None:
    """Return the tensor, or the first one of a tuple, a list or a mapping; ``None`` without."""
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if isinstance(values, tuple | list):
        return next((value for value in values if isinstance(value, torch.Tensor)), None)
    return None


@torch.no_grad()
def trace(model: PreTrainedModel, structure: Structure) -> Trace:
    """Run a few tokens through the model and keep what every module of a block got and made.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        With weights; its training flag is expected to be off.
    structure : Structure
        Its parts.

    Returns
    -------
    Trace
        Tensors are flattened to `(token, dim)` in float32 on the CPU.
    """
    recorder = _Recording(structure)
    try:
        recorder.hook(model)
        model(input_ids=_ids(structure).to(input_device(model)), use_cache=False)
    # Whatever a model class raises on a few plain tokens, it cannot be measured.
    except Exception as problem:
        raise ModelError(
            f"{type(model).__name__} cannot run {_TOKENS} tokens ({one_line(problem)}): check its "
            "config against its weights"
        ) from problem
    finally:
        recorder.remove()
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    return recorder.trace(3e-2 if half else 1e-4)


class _Recording:
    """Hooks that keep what blocks and the modules in and after them got and made."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.starts: dict[int, Mapping[Entry, torch.Tensor]] = {}
        self.passed: dict[int, Passed] = {}
        self.inside: list[list[Call]] = [[] for _ in structure.blocks]
        self.after: list[Call] = []
        self.besides: dict[str, None] = {}
        self._kinds = tuple({type(block) for block in structure.blocks})
        self._hooks: list[RemovableHandle] = []

    def hook(self, model: nn.Module) -> None:
        """Install the hooks."""
        prefix = f"{self.structure.blocks_path}."
        for layer, block in enumerate(self.structure.blocks):
            self._keep(block.register_forward_pre_hook(self._start(layer), with_kwargs=True))
            self._keep(block.register_forward_hook(self._end(layer), with_kwargs=True))
            for path, module in block.named_modules():
                if path:
                    hook = self._call(path, layer)
                    self._keep(module.register_forward_hook(hook, with_kwargs=True))
        for path, module in model.named_modules():
            if path and not path.startswith(prefix):
                hook = self._call(path, None)
                self._keep(module.register_forward_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Remove them."""
        for handle in self._hooks:
            handle.remove()

    def _keep(self, handle: RemovableHandle) -> None:
        self._hooks.append(handle)

    def _start(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, kwargs: object) -> None:
            # Kept when the block starts: the stream may be changed in place.
            inputs = {entry: copied(value) for entry, value in leaves((args, kwargs))}
            self.starts.setdefault(layer, inputs)

        return hook

    def _end(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, kwargs: object, output: object) -> None:
            made = {entry: copied(value) for entry, value in leaves(output)}
            self.passed.setdefault(layer, Passed(self.starts[layer], made))
            self.after.clear()

        return hook

    def _call(self, path: str, layer: int | None) -> Callable[..., None]:
        into = self.after if layer is None else self.inside[layer]

        def hook(module: nn.Module, args: object, kwargs: object, output: object) -> None:
            if layer is None and type(module) in self._kinds:
                self.besides[path] = None
            given = first_tensor(args)
            given = first_tensor(kwargs) if given is None else given
            whole = [copied(value) for _, value in leaves((args, kwargs))] if layer is None else []
            made = _flat(first_tensor(output))
            into.append(Call(path, module, _flat(given), made, tuple(whole)))

        return hook

    def trace(self, tolerance: float) -> Trace:
        """Put together what was kept."""
        order = range(len(self.structure.blocks))
        idle = [layer for layer in order if layer not in self.passed]
        if idle:
            raise ModelError(
                f"block {idle[0]} of {len(order)} did not run on {_TOKENS} tokens "
                f"({len(idle)} did not): only models that run every block can be measured"
            )
        blocks = [self.passed[layer] for layer in order]
        # Modules that hold the blocks end after them too, and get what came before.
        held = (self.structure.blocks_path + ".").startswith
        after = [call for call in self.after if not held(call.path + ".")]
        ends = [value for call in after for value in call.all_given]
        width = self.structure.d_model
        finder = StreamFinder(blocks, ends, tokens=_TOKENS, width=width, tolerance=tolerance)
        stream = finder.find()
        if len({id(block) for block in self.structure.blocks}) < len(blocks):
            reused = "one block is run several times, and what each run makes is not kept apart"
            stream = replace(stream, problem=reused)
        elif self.besides and not stream.problem:
            more = f"{len(self.besides)} blocks of the same class run outside the list"
            told = f"{more} of {len(blocks)} ({next(iter(self.besides))})"
            stream = replace(stream, problem=told)
        return Trace(
            given=tuple(_known(b.given.get(stream.given)) for b in blocks),
            made=tuple(_known(b.made.get(stream.made)) for b in blocks),
            inside=tuple(tuple(calls) for calls in self.inside),
            after=tuple(after),
            stream=stream,
            tolerance=tolerance,
        )


def _ids(structure: Structure) -> torch.Tensor:
    step = max(1, structure.d_vocab // (_TOKENS + 1))
    ids = [min(step * (at + 1), structure.d_vocab - 1) for at in range(_TOKENS)]
    return torch.tensor([ids])


def _flat(value: torch.Tensor | None) -> torch.Tensor | None:
    if value is None or not value.is_floating_point() or value.dim() == 0:
        return None
    return value.detach().reshape(-1, value.shape[-1]).to("cpu", torch.float32, copy=True)


def _known(value: torch.Tensor | None) -> torch.Tensor:
    return torch.empty(0) if value is None else value.reshape(-1, value.shape[-1])


def same(left: torch.Tensor | None, right: torch.Tensor | None, tolerance: float) -> bool:
    """Whether two recorded tensors are equal up to rounding."""
    if left is None or right is None or left.shape != right.shape:
        return False
    scale = max(float(left.abs().max()), float(right.abs().max()), 1e-30)
    return bool(((left - right).abs().max() <= tolerance * scale).item())
