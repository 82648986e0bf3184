"""Weights in memory against those of the file, and what in a file is no trained weight."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.models.held import FLOATS, HeldTensors
from refutable.models.names import match_names
from refutable.models.structure import Structure
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = (0.0, 0.37, 1.0)
# A run of rows without a number: more than a vocabulary's unused end, less than half a shard.
_EMPTY = 0.2
_LEAST = 8
_BLOCK = re.compile(r"\d+")


def content_checks(
    model: PreTrainedModel, structure: Structure, held: HeldTensors, *, fresh: bool, quantized: bool
) -> tuple[InstrumentCheck, ...]:
    """Compare a loaded model with its open checkpoint, tensor by tensor.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded, on the CPU.
    structure : Structure
        Its parts.
    held : HeldTensors
        The open checkpoint.
    fresh : bool
        Whether the weights are a fresh initialisation, of which some may be constant.
    quantized : bool
        Whether the config states a quantization: transformers then turns what the file holds.

    Returns
    -------
    tuple of InstrumentCheck
        ``weights-type``, ``weights-equal``, ``weights-finite``, ``weights-alive``.
    """
    scan = _Scan(model, structure)
    return (
        _types(held, quantized),
        _equal(model, held, quantized),
        _named(
            "weights-finite",
            scan.infinite,
            "these parameters hold NaN or infinite values ({}): download or save the checkpoint "
            "again, or load it as float32",
        ),
        _alive(scan, fresh),
    )


def _named(name: str, bad: list[str], detail: str) -> InstrumentCheck:
    if not bad:
        return InstrumentCheck(name, True, 0.0, 0.0)
    more = f", and {len(bad) - 3} more" if len(bad) > 3 else ""
    told = detail.format(", ".join(bad[:3]) + more)
    return InstrumentCheck(name, False, float(len(bad)), 0.0, told)


def _types(held: HeldTensors, quantized: bool) -> InstrumentCheck:
    odd = [
        f"{name} is {kind}"
        for name, kind in sorted(held.types.items())
        if kind not in FLOATS and name.endswith("weight") and len(held.shapes[name]) > 1
    ]
    return _named(
        "weights-type",
        [] if quantized else odd,
        "the checkpoint holds matrices of a quantized type and its config states no "
        "quantization ({}): their scales are lost; dequantize it, or restore quantization_config",
    )


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


class _Scan:
    """Looks once at every parameter: what is not finite, empty, constant or there twice."""

    def __init__(self, model: PreTrainedModel, structure: Structure) -> None:
        self.infinite: list[str] = []
        self.empty: list[str] = []
        self.constant: list[str] = []
        self.twice: list[str] = []
        self._prints: dict[tuple[tuple[int, ...], float, float], list[str]] = defaultdict(list)
        table = structure.position_embedding
        self._table = table.weight if isinstance(table, nn.Embedding) else None
        self._blocks = f"{structure.blocks_path}."
        self._parameters: Mapping[str, torch.Tensor] = dict(model.named_parameters())
        # A sublayer whose last matrix is zero adds nothing: models are begun so, and cut so.
        self._last = {id(weight) for block in structure.blocks for weight in _last_matrices(block)}
        for name, value in self._parameters.items():
            self._look(name, value.detach())
        self._compare()

    def _look(self, name: str, value: torch.Tensor) -> None:
        if not value.is_floating_point() or value.numel() == 0:
            return
        rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
        low, high = torch.aminmax(rows, dim=1)
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            self.infinite.append(name)
            return
        if min(rows.shape) < _LEAST or self._parameters[name] is self._table:
            return
        if bool((low == high).all()) and bool((low == low[0]).all()):
            if float(low[0]) == 0 and id(self._parameters[name]) in self._last:
                return
            self.constant.append(f"{name} is {float(low[0]):g} throughout")
            return
        run = _longest_run((low == 0) & (high == 0))
        if run >= max(_LEAST, _EMPTY * len(low)):
            self.empty.append(f"{run} of {len(low)} rows of {name} in a run")
        # A matrix with a value or less in each row was set by hand, and one whose rows are all
        # alike by a formula, such as the decay rates that state-space blocks begin with.
        alike = bool((low == low[0]).all() and (high == high[0]).all())
        by_hand = alike or int(value.count_nonzero()) <= max(value.shape)
        if name.startswith(self._blocks) and not by_hand:
            total = low.double().sum().item(), high.double().sum().item()
            self._prints[tuple(value.shape), *total].append(name)

    def _compare(self) -> None:
        matrices: dict[str, int] = defaultdict(int)
        pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for names in self._prints.values():
            for name in names:
                matrices[self._block_of(name)] += 1
            for other in names[1:]:
                first = names[0]
                # Experts of one layer may begin as copies of one feed-forward.
                within = self._block_of(first) == self._block_of(other)
                if within and _BLOCK.sub("#", first) == _BLOCK.sub("#", other):
                    continue
                if torch.equal(self._parameters[first], self._parameters[other]):
                    pairs[self._block_of(first), self._block_of(other)].append((first, other))
        for (one, other), differing in pairs.items():
            # A block repeated as a whole is how models are made deeper.
            if one == other or len(differing) < min(matrices[one], matrices[other]):
                self.twice += [f"{a} = {b}" for a, b in differing]

    def _block_of(self, name: str) -> str:
        return name.removeprefix(self._blocks).partition(".")[0]


def _last_matrices(block: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the matrix that each part of a block writes with: the last one registered in it."""
    for part in block.children():
        matrices = [weight for weight in part.parameters() if weight.dim() == 2]
        if matrices:
            yield matrices[-1]


def _longest_run(flags: torch.Tensor) -> int:
    if not bool(flags.any()):
        return 0
    edges = torch.diff(torch.nn.functional.pad(flags.to(torch.int8), (1, 1)))
    return int((torch.where(edges < 0)[0] - torch.where(edges > 0)[0]).max())


def _alive(scan: _Scan, fresh: bool) -> InstrumentCheck:
    if fresh:
        return InstrumentCheck(
            "weights-alive", True, 0.0, 0.0, "the weights are a fresh initialisation"
        )
    bad = [*(f"{told} hold nothing but zeros" for told in scan.empty), *scan.constant]
    bad += [f"{told} to the last digit" for told in scan.twice]
    return _named(
        "weights-alive",
        bad,
        "parts of the checkpoint were never trained or were lost ({}): a shard that stopped "
        "half-way, or a wrong copy; download or save it again",
    )
