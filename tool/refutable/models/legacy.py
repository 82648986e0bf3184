"""Buffers that old checkpoints hold beside their weights: masks and rotary frequencies.

They are no weights, and today's classes compute them. They are left aside only where they hold what
the class computes; frequencies that contradict the config are those of another model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.models.held import HeldTensors
from refutable.models.structure import text_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.system.typing import Json

_LARGE = 1e3
_SAMPLED = 5


def judge(
    model: PreTrainedModel, held: HeldTensors, names: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Tell buffers from weights among tensors that the module tree has no place for.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded.
    held : HeldTensors
        The open checkpoint.
    names : iterable of str
        The tensors to judge.

    Returns
    -------
    aside, wrong : dict of str to str
        Buffers that hold what the class computes, with what they are; and buffers that contradict
        it, with how. A tensor that is no buffer is in neither.
    """
    aside: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name in names:
        told = _judge(model, held, name)
        if told is not None:
            right, what = told
            (aside if right else wrong)[name] = what
    return aside, wrong


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Whether name and shape are such as checkpoints gave to buffers and never to weights."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "bias" and (len(shape) > 2 or (len(shape) == 2 and shape[0] == shape[1])):
        return True
    return leaf in ("masked_bias", "inv_freq", "cos_cached", "sin_cached") or "rotary_emb" in name


def _judge(model: PreTrainedModel, held: HeldTensors, name: str) -> tuple[bool, str] | None:
    leaf, shape = name.rsplit(".", 1)[-1], held.shapes[name]
    size = 1
    for n in shape:
        size *= n
    if leaf == "masked_bias" and size == 1:
        value = float(held.whole(name).reshape(()))
        return value <= -_LARGE, "masked bias" if value <= -_LARGE else f"a masked bias of {value}"
    if leaf == "position_ids" and shape[-1:] == (size,):
        counted = bool((held.whole(name).reshape(-1) == torch.arange(size)).all())
        return counted, "positions" if counted else "positions that do not count from 0"
    if "inv_freq" in leaf and len(shape) == 1:
        return _frequencies(model, held.whole(name).float(), held.types[name])
    if leaf in ("cos_cached", "sin_cached") and size > 2 * shape[-1]:
        table = held.whole(name).float().reshape(-1, shape[-1])[1, : shape[-1] // 2]
        angles = table.acos() if leaf == "cos_cached" else table.asin()
        return _frequencies(model, angles, "F16")
    square = len(shape) >= 2 and shape[-1] == shape[-2] and size == shape[-1] ** 2
    if square and shape[-1] > 1 and ("bias" in leaf or "mask" in leaf or "tril" in leaf):
        return _mask(model, held, name, shape)
    return _computed(model, held, name, shape)


def _computed(
    model: PreTrainedModel, held: HeldTensors, name: str, shape: tuple[int, ...]
) -> tuple[bool, str] | None:
    buffer = _kept(model, name, shape)
    if buffer is None:
        return None
    values = held.whole(name).to(buffer.dtype).reshape(buffer.shape)
    tolerance = 1e-4 if held.types[name] in ("F32", "F64") else 1e-2
    if torch.allclose(values, buffer, rtol=tolerance, atol=tolerance):
        return True, "numbers that the class computes"
    return False, "numbers that are not those which the class computes"


def _kept(model: PreTrainedModel, name: str, shape: tuple[int, ...]) -> torch.Tensor | None:
    """What the module of that name keeps under it without saving it: a table, a factor."""
    parent, _, leaf = name.rpartition(".")
    prefix = f"{model.base_model_prefix}."
    for path in (parent, prefix + parent, parent.removeprefix(prefix)):
        try:
            value = getattr(model.get_submodule(path), leaf, None)
        except AttributeError:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = torch.tensor(float(value))
        if not isinstance(value, torch.Tensor) or value.is_meta or isinstance(value, nn.Parameter):
            continue
        if value.numel() == max(math.prod(shape), 1) and value.is_floating_point():
            return value.detach().float().cpu()
    return None


def _mask(
    model: PreTrainedModel, held: HeldTensors, name: str, shape: tuple[int, ...]
) -> tuple[bool, str] | None:
    values = held.whole(name).reshape(shape[-2:])
    if not bool(((values == 0) | (values == 1)).all()):
        return None
    size = shape[-1]
    indices = sorted({round(i * (size - 1) / (_SAMPLED - 1)) for i in range(_SAMPLED)})
    buffer_name = _own_buffer(model, name)
    columns = torch.arange(size)
    for row in indices:
        seen = values[row].bool()
        causal = columns <= row
        windows = [causal, *(causal & (columns > row - w) for w in _windows(model))]
        if buffer_name is not None and buffer_name.shape[-1] >= size:
            windows = [buffer_name.reshape(buffer_name.shape[-2:])[row, :size].bool()]
        if not any(bool((seen == wanted).all()) for wanted in windows):
            return False, f"a mask whose row {row} is not what the class computes"
    return True, "causal mask"


def _own_buffer(model: PreTrainedModel, name: str) -> torch.Tensor | None:
    """The buffer of that name which the class keeps itself, though it does not save it."""
    for candidate, buffer in model.named_buffers():
        if candidate == name or candidate.endswith("." + name) or name.endswith("." + candidate):
            square = buffer.dim() >= 2 and buffer.shape[-1] == buffer.shape[-2]
            return buffer if square and not buffer.is_meta else None
    return None


def _windows(model: PreTrainedModel) -> list[int]:
    stated = vars(text_config(model))
    return [v for n, v in stated.items() if "window" in n and isinstance(v, int) and v > 0]


def _frequencies(model: PreTrainedModel, values: torch.Tensor, kind: str) -> tuple[bool, str]:
    tolerance = 1e-2 if kind in ("F16", "BF16") else 1e-4
    for computed in computed_frequencies(model, len(values)):
        if computed.shape == values.shape and torch.allclose(
            computed, values, rtol=tolerance, atol=1e-6
        ):
            return True, "rotary frequencies"
    base = base_of(values)
    return False, f"rotary frequencies of base {base:.6g} that the config contradicts"


def computed_frequencies(model: PreTrainedModel, count: int) -> list[torch.Tensor]:
    """Rotary frequencies that a model uses, and those of its bases before any scaling."""
    frequencies = [
        buffer.detach().float().cpu()
        for name, buffer in model.named_buffers()
        if "inv_freq" in name.rsplit(".", 1)[-1] and not buffer.is_meta
    ]
    for base in stated_bases(getattr(text_config(model), "rope_parameters", None)) or [10000.0]:
        frequencies.append(1.0 / base ** (torch.arange(0, 2 * count, 2).float() / (2 * count)))
    return frequencies


def stated_bases(parameters: Json) -> list[float]:
    """Return every rotary base in rope parameters, nested by layer type or not."""
    bases: list[float] = []
    for name, value in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(value, dict):
            bases += stated_bases(value)
        elif name == "rope_theta" and isinstance(value, int | float):
            bases.append(float(value))
    return bases


def base_of(frequencies: torch.Tensor) -> float:
    """Rotary base that the first two frequencies imply; infinite without two."""
    if len(frequencies) < 2 or not bool(frequencies[:2].gt(0).all()):
        return float("inf")
    ratio = float(frequencies[0].double() / frequencies[1].double())
    return float(ratio ** len(frequencies))
