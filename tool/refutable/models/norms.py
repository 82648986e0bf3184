"""Normalization modules, recognised by what they do and not by what they are called."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

LAYER_NORM = "LayerNorm"
RMS_NORM = "RMSNorm"

_NEVER = (nn.Linear, nn.Embedding, nn.Dropout, nn.Identity, nn.modules.conv._ConvNd)
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class NormModule:
    """One normalization module of a model."""

    path: str
    """Dotted path inside the model."""
    module: nn.Module
    kind: str
    """``LayerNorm`` (subtracts the mean, divides by the standard deviation) or ``RMSNorm``."""
    layer: int | None
    """Block that holds it; ``None`` outside the blocks."""
    slot: str
    """Path inside the block (the same in every block), or the whole path."""
    stream: bool
    """Whether it is as wide as the residual stream and outside the attention module."""
    unit_gain: float | None
    """Value of the gain parameter that leaves the normalized input as it is: 1, or 0 where the
    module multiplies by ``1 + weight``; ``None`` when it has no gain."""


@dataclass(frozen=True, slots=True)
class _Behaviour:
    kind: str
    unit_gain: float | None


def width(module: nn.Module) -> int | None:
    """Size of a module's 1-D parameters when it has no other; ``None`` otherwise."""
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    if len(shapes) == 1:
        (shape,) = shapes
        return shape[0] if len(shape) == 1 else None
    return None


class NormProbe:
    """Tells normalization modules by feeding a copy of each with known input.

    Parameters
    ----------
    d_model : int
        Width tried for modules that hold no parameter.
    """

    def __init__(self, d_model: int) -> None:
        self._d_model = d_model
        self._known: dict[tuple[type, int, str], _Behaviour | None] = {}

    def behaviour(self, module: nn.Module) -> _Behaviour | None:
        """Kind and unit gain of a norm, or ``None`` for any other module.

        Notes
        -----
        With gains 1 and biases 0 a LayerNorm gives ``c (x - mean) / sd`` and an RMSNorm
        ``c x / rms`` with one constant ``c`` for rows of any scale and shift. Activations,
        identities and rotations do neither.
        """
        if isinstance(module, _NEVER) or next(module.children(), None) is not None:
            return None
        has_parameters = next(module.parameters(), None) is not None
        size = width(module) if has_parameters else self._d_model
        if size is None or size < 2:
            return None
        key = (type(module), size, module.extra_repr())
        if key not in self._known:
            self._known[key] = _probe(module, size, gains=has_parameters)
        return self._known[key]


@torch.no_grad()
def _probe(module: nn.Module, size: int, *, gains: bool) -> _Behaviour | None:
    try:
        subject = copy.deepcopy(module).to_empty(device="cpu").float().eval()
        source = torch.Generator().manual_seed(0)
        rows = torch.randn(4, size, generator=source, dtype=torch.float32, device="cpu")
        scale, shift = [[10.0], [30.0], [90.0], [270.0]], [[7.0], [-20.0], [40.0], [-90.0]]
        rows = rows * torch.tensor(scale, device="cpu") + torch.tensor(shift, device="cpu")
        _fill(subject, 1.0)
        out = subject(rows)
        if not isinstance(out, torch.Tensor) or out.shape != rows.shape:
            return None
        kind = _kind(rows, out.float())
        if kind is None:
            return None
        _fill(subject, 0.0)
        unit = 0.0 if bool(subject(rows).abs().max() > _TOLERANCE) else 1.0
        return _Behaviour(kind, unit if gains else None)
    # A module that takes other arguments than one tensor is no norm, whatever it raises.
    except Exception:
        return None


def _fill(module: nn.Module, gain: float) -> None:
    for name, parameter in module.named_parameters():
        parameter.fill_(0.0 if "bias" in name else gain)


def _kind(rows: torch.Tensor, out: torch.Tensor) -> str | None:
    centred = rows - rows.mean(-1, keepdim=True)
    wanted = {
        LAYER_NORM: centred / centred.pow(2).mean(-1, keepdim=True).sqrt(),
        RMS_NORM: rows / rows.pow(2).mean(-1, keepdim=True).sqrt(),
    }
    for kind, expected in wanted.items():
        scale = float((out * expected).sum() / expected.pow(2).sum())
        if abs(scale) > _TOLERANCE and torch.allclose(
            out, scale * expected, rtol=0, atol=_TOLERANCE * abs(scale)
        ):
            return kind
    return None


def kind_of(norms: tuple[NormModule, ...]) -> str:
    """One word for the norms of blocks on the residual stream: a kind, ``mixed`` or ``none``.

    A norm before the unembedding alone does not count: what happens inside is not normalized.
    """
    kinds = {norm.kind for norm in norms if norm.stream and norm.layer is not None}
    if not kinds:
        return "none"
    return kinds.pop() if len(kinds) == 1 else "mixed"
