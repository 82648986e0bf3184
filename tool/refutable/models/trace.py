"""One short run of a model that shows how its blocks are wired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from refutable.errors import ModelError
from refutable.models.structure import Structure

_TOKENS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of one module: its first tensor argument and its first tensor result."""

    path: str
    module: nn.Module
    given: torch.Tensor | None
    made: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What each block got, made, and called inside, in the order of the calls' ends."""

    given: tuple[torch.Tensor, ...]
    """Residual stream before each block, `(token, dim)`."""
    made: tuple[torch.Tensor, ...]
    """Residual stream after each block, `(token, dim)`."""
    inside: tuple[tuple[Call, ...], ...]
    final: Call | None
    """The call of the norm after the last block."""
    tolerance: float


def first_tensor(values: Any) -> torch.Tensor | None:
    """Return the tensor, or the first one of a tuple, a list or a mapping; ``None`` without."""
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if isinstance(values, tuple | list):
        return next((value for value in values if isinstance(value, torch.Tensor)), None)
    return None


@torch.no_grad()
def trace(model: Any, structure: Structure) -> Trace:
    """Run four tokens through the model and keep what every module of a block got and made.

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
    calls: list[list[Call]] = [[] for _ in structure.blocks]
    ends: dict[int, Call] = {}
    final: list[Call] = []
    hooks = []

    def keep(path: str, into: list[Call]) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            given = first_tensor(args)
            given = first_tensor(kwargs) if given is None else given
            into.append(Call(path, module, _flat(given), _flat(first_tensor(output))))

        return hook

    def end(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # The stream before the block is kept when the block starts: it may be changed in place.
            ends[layer] = Call("", module, starts[layer], _flat(first_tensor(output)))

        return hook

    starts: dict[int, torch.Tensor | None] = {}

    def start(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            given = first_tensor(args)
            starts[layer] = _flat(first_tensor(kwargs) if given is None else given)

        return hook

    try:
        for layer, block in enumerate(structure.blocks):
            hooks.append(block.register_forward_pre_hook(start(layer), with_kwargs=True))
            hooks.append(block.register_forward_hook(end(layer), with_kwargs=True))
            for path, module in block.named_modules():
                if path:
                    hook = keep(path, calls[layer])
                    hooks.append(module.register_forward_hook(hook, with_kwargs=True))
        if structure.final_norm is not None:
            module = structure.final_norm.module
            path = structure.final_norm.path
            hooks.append(module.register_forward_hook(keep(path, final), with_kwargs=True))
        model(input_ids=_ids(structure), use_cache=False)
    # Whatever a model class raises on four plain tokens, it cannot be measured.
    except Exception as problem:
        first = str(problem).strip().splitlines()[:1]
        raise ModelError(
            f"{type(model).__name__} cannot run four tokens ({type(problem).__name__}: "
            f"{' '.join(first)}): check its config against its weights"
        ) from problem
    finally:
        for handle in hooks:
            handle.remove()
    order = range(len(structure.blocks))
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    return Trace(
        given=tuple(_known(ends[layer].given) for layer in order),
        made=tuple(_known(ends[layer].made) for layer in order),
        inside=tuple(tuple(block) for block in calls),
        final=final[-1] if final else None,
        tolerance=3e-2 if half else 1e-4,
    )


def _ids(structure: Structure) -> torch.Tensor:
    step = max(1, structure.d_vocab // (_TOKENS + 1))
    ids = [min(step * (at + 1), structure.d_vocab - 1) for at in range(_TOKENS)]
    return torch.tensor([ids], device=next(structure.embedding.parameters()).device)


def _flat(value: torch.Tensor | None) -> torch.Tensor | None:
    if value is None or not value.is_floating_point() or value.dim() == 0:
        return None
    return value.detach().reshape(-1, value.shape[-1]).to("cpu", torch.float32, copy=True)


def _known(value: torch.Tensor | None) -> torch.Tensor:
    return torch.empty(0) if value is None else value


def same(left: torch.Tensor | None, right: torch.Tensor | None, tolerance: float) -> bool:
    """Whether two recorded tensors are equal up to rounding."""
    if left is None or right is None or left.shape != right.shape:
        return False
    scale = max(float(left.abs().max()), float(right.abs().max()), 1e-30)
    return bool(((left - right).abs().max() <= tolerance * scale).item())
