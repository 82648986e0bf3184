"""The twins' forward pass for several twins at once, in one leading dimension of every tensor.

One twin is too small to occupy a GPU: a step takes as long for eight as for one. The functions here
compute what `TwinLMHeadModel` computes, for parameters ``(member, ...)`` under its names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from refutable.models.twin_model import TwinConfig

Parameters = Mapping[str, Tensor]
_PARTS = 8


class _Rows(torch.autograd.Function):
    """Rows of each member's embedding table; the gradient is a matrix product.

    The gradient of an ordinary look-up is summed by atomic additions on a GPU, in an order that
    changes from run to run.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.size = table.shape[1]
        members = torch.arange(len(table), device=table.device)
        return table[members[:, None], ids]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        tokens = torch.arange(ctx.size, device=ids.device)
        chosen = (tokens[:, None] == ids[:, None, :]).to(gradients[0].dtype)
        return torch.bmm(chosen, gradients[0]), None


class _Linear(torch.autograd.Function):
    """``x @ weight + bias``; the weight's gradient is summed over tokens in a few parts.

    A sum over all tokens of a step in one go leaves most of a GPU idle: it has one small matrix to
    fill, and can share the work on it with few of its units.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        above = gradients[0]
        members, tokens, width = x.shape
        parts = _PARTS if tokens % _PARTS == 0 else 1
        cut = (members * parts, tokens // parts)
        of_parts = torch.bmm(x.reshape(*cut, width).transpose(1, 2), above.reshape(*cut, -1))
        of_weight = of_parts.view(members, parts, width, -1).sum(1)
        return torch.bmm(above, weight.transpose(1, 2)), of_weight, above.sum(1)


def _normed(p: Parameters, name: str, x: Tensor, config: TwinConfig) -> Tensor:
    """Apply the norm called `name` to ``(member, token, dim)``, or nothing if there is none."""
    if f"{name}.weight" not in p:
        return x
    gain = p[f"{name}.weight"][:, None]
    width = (x.shape[-1],)
    if config.norm_kind == "rmsnorm":
        return functional.rms_norm(x, width, eps=config.layer_norm_epsilon) * gain
    if config.norm_kind == "dyt":
        squashed = torch.tanh(p[f"{name}.alpha"][:, None] * x)
    else:
        squashed = functional.layer_norm(x, width, eps=config.layer_norm_epsilon)
    return torch.addcmul(p[f"{name}.bias"][:, None], squashed, gain)


def _linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    made: Tensor = _Linear.apply(x, p[f"{name}.weight"], p[f"{name}.bias"])  # type: ignore[no-untyped-call]
    return made


def _attention(p: Parameters, name: str, x: Tensor, length: int, config: TwinConfig) -> Tensor:
    members, tokens, width = x.shape
    heads, size = config.n_head, width // config.n_head
    joint = _linear(p, f"{name}.c_attn", x).view(-1, length, 3, heads, size)
    q, k, v = joint.permute(2, 0, 3, 1, 4).reshape(3, -1, length, size).unbind(0)
    hidden = torch.full((length, length), -math.inf, device=x.device, dtype=x.dtype).triu(1)
    scores = torch.baddbmm(hidden, q, k.transpose(1, 2), alpha=1 / math.sqrt(size))
    mixed = torch.bmm(torch.softmax(scores, -1), v).view(-1, heads, length, size)
    return _linear(p, f"{name}.c_proj", mixed.transpose(1, 2).reshape(members, tokens, width))


def stacked_logits(p: Parameters, ids: Tensor, config: TwinConfig) -> Tensor:
    """Return the logits of several twins.

    Parameters
    ----------
    p : mapping of str to Tensor
        Parameters under the names of `TwinLMHeadModel`, ``(member, ...)``.
    ids : Tensor
        Token ids ``(member, row, position)``.
    config : TwinConfig
        The config that all of them have.

    Returns
    -------
    Tensor
        ``(member, row * position, token)``.
    """
    members, rows, length = ids.shape
    table = p["transformer.wte.weight"]
    x: Tensor = _Rows.apply(table, ids.flatten(1))  # type: ignore[no-untyped-call]
    if "transformer.wpe.weight" in p:
        positions = p["transformer.wpe.weight"][:, None, :length]
        x = (x.view(members, rows, length, -1) + positions).flatten(1, 2)
    for index in range(config.n_layer):
        name = f"transformer.h.{index}"
        x = x + _attention(p, f"{name}.attn", _normed(p, f"{name}.ln_1", x, config), length, config)
        hidden = _linear(p, f"{name}.mlp.c_fc", _normed(p, f"{name}.ln_2", x, config))
        x = x + _linear(p, f"{name}.mlp.c_proj", functional.gelu(hidden, approximate="tanh"))
    return torch.bmm(_normed(p, "transformer.ln_f", x, config), table.transpose(1, 2))


def stacked_losses(p: Parameters, rows: Tensor, config: TwinConfig) -> Tensor:
    """Mean loss in nats of each member over its rows ``(member, row, position + 1)``."""
    logits = stacked_logits(p, rows[..., :-1], config)
    targets = rows[..., 1:].flatten()
    each = functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    return each.view(len(rows), -1).mean(1)
