"""Weights in memory against those of the file, and what in a file is no trained weight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from refutable.models.held import FLOATS, HeldTensors
from refutable.models.legacy import is_buffer
from refutable.models.names import match_names
from refutable.models.scan import Findings
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = (0.0, 0.37, 1.0)
_SCALE = re.compile(r"(?i)scale|absmax|scb|zeros|quant|range")


def content_checks(
    model: PreTrainedModel, seen: Findings, held: HeldTensors, *, fresh: bool, quantized: bool
) -> tuple[InstrumentCheck, ...]:
    """Compare a loaded model with its open checkpoint, tensor by tensor.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded, on the CPU.
    seen : Findings
        What `refutable.models.scan.scan` found in it.
    held : HeldTensors
        The open checkpoint.
    fresh : bool
        Whether the weights are a fresh initialisation, of which some may be constant.
    quantized : bool
        Whether the config states a quantization: transformers then turns what the file holds.

    Returns
    -------
    tuple of InstrumentCheck
        ``weights-type``, ``weights-equal``, ``weights-finite``, ``weights-alive``; before them
        ``weights-once`` where it fails.
    """
    twice = _named(
        "weights-once",
        held.contradicting,
        "two files of the checkpoint hold these tensors with other numbers ({}), and which one is "
        "meant is not said: remove the files of the other release",
    )
    return (
        *((twice,) if not twice.passed else ()),
        _types(model, held, quantized),
        _equal(model, held, quantized),
        _named(
            "weights-finite",
            seen.infinite,
            "these parameters hold NaN or infinite values ({}): download or save the checkpoint "
            "again, or load it as float32",
        ),
        _alive(seen, fresh),
    )


def _named(name: str, bad: list[str], detail: str) -> InstrumentCheck:
    if not bad:
        return InstrumentCheck(name, True, 0.0, 0.0)
    more = f", and {len(bad) - 3} more" if len(bad) > 3 else ""
    told = detail.format(", ".join(bad[:3]) + more)
    return InstrumentCheck(name, False, float(len(bad)), 0.0, told)


def _types(model: PreTrainedModel, held: HeldTensors, quantized: bool) -> InstrumentCheck:
    """Name matrices of a type that stands for numbers only beside a scale, whatever their names."""
    floats = {
        name.rsplit(".", 1)[-1]
        for name, value in model.named_parameters()
        if value.is_floating_point()
    }
    odd = [
        f"{name} is {kind}"
        for name, kind in sorted(held.types.items())
        if kind not in FLOATS
        and len(held.shapes[name]) > 1
        and name.rsplit(".", 1)[-1] in {*floats, "weight"}
        and not is_buffer(name, held.shapes[name])
    ]
    if quantized:
        # Scales lie beside their matrix, under its name or its module's.
        beside = [name for name in held.types if _SCALE.search(name)]
        odd = [
            told for told in odd if not any(name.startswith(_module_of(told)) for name in beside)
        ]
    why = "their scales are not in it" if quantized else "its config states no quantization"
    return _named(
        "weights-type",
        odd,
        f"the checkpoint holds matrices of a quantized type and {why} ({{}}): their scales are "
        "lost; dequantize it, or restore what is missing",
    )


def _module_of(told: str) -> str:
    return told.partition(" ")[0].removesuffix("weight")


def _equal(model: PreTrainedModel, held: HeldTensors, quantized: bool) -> InstrumentCheck:
    """Compare three rows of each tensor that the file holds in the shape of the module."""
    name = "weights-equal"
    if quantized:
        return InstrumentCheck(name, True, None, None, "the checkpoint is quantized: not compared")
    state = model.state_dict(keep_vars=True)
    wanted = {key: tuple(value.shape) for key, value in state.items()}
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    names = match_names(held.shapes, wanted, prefix)
    changed = tuple(_changed_while_loading(model))
    differ, compared = [], 0
    for key, stored in names.items():
        if held.shapes[stored] != wanted[key] or any(p.search(stored) for p in changed):
            continue
        compared += 1
        if not _same_rows(state[key].detach(), held, stored):
            differ.append(key)
    told = f"{compared} of {len(wanted)} tensors compared with the file, {len(names)} found there"
    if not differ:
        return InstrumentCheck(name, True, 0.0, 0.0, told)
    return _named(
        name,
        differ,
        "these tensors in memory are not those of the file ({}): something overwrote them while "
        "loading, such as an initialiser that works in place; use another version of transformers",
    )


def _same_rows(memory: torch.Tensor, held: HeldTensors, name: str) -> bool:
    if memory.dim() == 0 or memory.is_meta:
        return True
    length = memory.shape[0]
    indices = sorted({round(share * (length - 1)) for share in _ROWS}) if memory.dim() > 1 else []
    file = held.rows(name, indices) if indices else held.whole(name)
    in_memory = memory[indices] if indices else memory
    return torch.equal(
        torch.nan_to_num(file.to(in_memory.dtype)), torch.nan_to_num(in_memory.cpu())
    )


def _changed_while_loading(model: PreTrainedModel) -> Iterator[re.Pattern[str]]:
    """Patterns of names whose tensors transformers merges, splits or turns while loading."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter
    except ImportError:
        return
    for item in get_model_conversion_mapping(model) or ():
        if isinstance(item, WeightConverter):
            for pattern in item.source_patterns:
                yield re.compile(pattern.replace(".*.", r"\.\d+\.").replace("*", r"\d+"))


def _alive(seen: Findings, fresh: bool) -> InstrumentCheck:
    if fresh:
        return InstrumentCheck(
            "weights-alive", True, 0.0, 0.0, "the weights are a fresh initialisation"
        )
    bad = [*(f"{told} hold nothing but zeros" for told in seen.lost), *seen.odd]
    bad += [f"{told} to the last digit" for told in seen.twice]
    if not bad:
        return InstrumentCheck("weights-alive", True, 0.0, 0.0, ", ".join(seen.copies))
    return _named(
        "weights-alive",
        bad,
        "parts of the checkpoint were never trained or were lost ({}): a shard that stopped "
        "half-way, or a wrong copy; download or save it again",
    )
