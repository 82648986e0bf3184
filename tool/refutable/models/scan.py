"""One look at every number that a loaded model holds: not finite, lost, constant or there twice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.models.facts.remembered import remembered
from refutable.models.structure import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.models.checkpoint import Checkpoint

_RULES = 3
"""Raised when something is looked for in another way, so that what is remembered is made again."""
# A run of rows without a number: more than a vocabulary's unused end, less than half a shard.
_EMPTY = 0.2
_LEAST = 8
_DENSE = 0.5
_MOST = 32
"""Runs of empty rows whose ends are looked at, from either side."""
_SHARES = (0.0, 0.37, 0.71, 1.0)
_SAME_ROW = "the same row throughout"
_BLOCK = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, each as a line that names its tensor."""

    infinite: list[str] = field(default_factory=list)
    """Parameters and saved buffers that hold NaN or infinite values."""
    lost: list[str] = field(default_factory=list)
    """Runs of rows that hold nothing but zeros."""
    odd: list[str] = field(default_factory=list)
    """Tensors that no training leaves so: constant ones, whole numbers alone."""
    twice: list[str] = field(default_factory=list)
    """Matrices copied over others."""
    copies: list[str] = field(default_factory=list)
    """Blocks that repeat another one as a whole, which is how models are made deeper."""


def scan(model: PreTrainedModel, structure: Structure, checkpoint: Checkpoint) -> Findings:
    """Look at a model that was loaded from a checkpoint, or remember what was seen of it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded, on the CPU.
    structure : Structure
        Its parts.
    checkpoint : Checkpoint
        Equal files give equal tensors under equal versions and in an equal type of numbers: what
        was seen of these is not looked at again. That the tensors are those of the file is
        checked at every load.
    """
    kind = next(model.parameters()).dtype
    of = (str(_RULES), type(model).__qualname__, str(kind), version("torch"))
    lines_of = remembered(
        "numbers in memory", checkpoint, of, lambda: asdict(_Scan(model, structure).findings)
    )
    assert isinstance(lines_of, dict)  # noqa: S101  (as it was written)
    return Findings(**{name: [str(line) for line in lines] for name, lines in lines_of.items()})


class _Scan:
    """Looks once at every parameter."""

    def __init__(self, model: PreTrainedModel, structure: Structure) -> None:
        self.findings = Findings()
        self._prints: dict[tuple[tuple[int, ...], float, float], list[str]] = defaultdict(list)
        self._vectors: dict[str, dict[str, bool]] = defaultdict(dict)
        table = structure.position_embedding
        self._table = table.weight if isinstance(table, nn.Embedding) else None
        self._blocks = f"{structure.blocks_path}."
        # Some norms multiply by 1 + weight: zeros are then a gain of one, and -1 is none at all.
        self._shifted = {norm.path for norm in structure.norms if norm.unit_gain == 0}
        self._parameters = dict(model.named_parameters())
        # A sublayer whose last matrix is zero adds nothing: models are begun so, and cut so.
        self._last = {id(weight) for block in structure.blocks for weight in _last_matrices(block)}
        for name, value in self._parameters.items():
            self._look(name, value.detach())
        saved = set(model.state_dict(keep_vars=True))
        for name, buffer in model.named_buffers():
            if name in saved and buffer.is_floating_point() and not buffer.is_meta:
                if not bool(buffer.isfinite().all()):
                    self.findings.infinite.append(name)
        self._compare()
        self._compare_vectors()

    def _look(self, name: str, value: torch.Tensor) -> None:
        if not value.is_floating_point() or value.numel() == 0:
            return
        # Types of eight bits have no comparisons of their own.
        value = value.float() if value.element_size() == 1 else value
        rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
        low, high = torch.aminmax(rows, dim=1)
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            self.findings.infinite.append(name)
            return
        if value.dim() == 1 and name.startswith(self._blocks) and len(value) >= _LEAST:
            self._vectors[_BLOCK.sub("#", name)][name] = bool(low[0] == high[0])
        if min(rows.shape) < _LEAST or self._parameters[name] is self._table:
            return
        told = _constant(rows, low, high)
        # Alike rows of a parameter of a module's own follow from a formula, such as decay rates.
        by_formula = told == _SAME_ROW and name.rsplit(".", 1)[-1] != "weight"
        if told and not by_formula:
            if float(high.max()) == float(low.min()) == 0.0 and (
                id(self._parameters[name]) in self._last
            ):
                return
            self.findings.odd.append(f"{name} is {told}")
            return
        filled = int(value.count_nonzero())
        self._look_for_gaps(name, rows, (low == 0) & (high == 0), filled)
        if filled > _DENSE * value.numel() and _whole(rows):
            self.findings.odd.append(
                f"{name} is whole numbers alone, as of a quantized type without its scale,"
            )
        # A matrix with a value or less in each row was set by hand.
        if name.startswith(self._blocks) and filled > max(value.shape) and not by_formula:
            total = low.double().sum().item(), high.double().sum().item()
            self._prints[tuple(value.shape), *total].append(name)

    def _look_for_gaps(
        self, name: str, rows: torch.Tensor, empty: torch.Tensor, filled: int
    ) -> None:
        if not bool(empty.any()):
            return
        starts, ends = _runs(empty)
        longest = int((ends - starts).max())
        if longest >= max(_LEAST, _EMPTY * len(rows)):
            self.findings.lost.append(f"{longest} of {len(rows)} rows of {name} in a run")
        elif filled > _DENSE * int((~empty).sum()) * rows.shape[1]:
            beside = [int(place) for place in (*(starts - 1)[:_MOST], *ends[-_MOST:])]
            if any(_is_cut(rows, empty, place) for place in beside):
                self.findings.lost.append(f"{longest} rows of {name}, from the middle of a row,")

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
        for (one, other), equal in pairs.items():
            if one == other or len(equal) < min(matrices[one], matrices[other]):
                self.findings.twice.extend(f"{a} = {b}" for a, b in equal)
            else:
                self.findings.copies.append(f"block {other} repeats block {one}")

    def _compare_vectors(self) -> None:
        """Gains that let nothing through in few blocks, and hold many numbers in the others.

        A gain of ones may have been folded into the matrices behind it, and a bias of zeros may
        have been left as it began: neither is damage, and the gate tells a gain that was reset.
        """
        for constant in self._vectors.values():
            names = [name for name, is_constant in constant.items() if is_constant]
            if 0 < len(names) < len(constant) / 2:
                self.findings.odd.extend(
                    f"{name} is {self._nothing(name):g} throughout and in other blocks is not"
                    for name in names
                    if name.endswith("weight")
                    and float(self._parameters[name].detach()[0]) == self._nothing(name)
                )

    def _nothing(self, name: str) -> float:
        """Return the weight of a norm that makes zeros of whatever it reads."""
        return -1.0 if name.rpartition(".")[0] in self._shifted else 0.0

    def _block_of(self, name: str) -> str:
        return name.removeprefix(self._blocks).partition(".")[0]


def _last_matrices(block: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the matrix that each part of a block writes with: the last one registered in it."""
    for part in block.children():
        matrices = [weight for weight in part.parameters() if weight.dim() == 2]
        if matrices:
            yield matrices[-1]


def _constant(rows: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> str:
    """Say how all rows are alike; empty when they are not."""
    flat, alike = bool((low == high).all()), bool((low == low[0]).all() and (high == high[0]).all())
    if flat and alike:
        return f"{float(low[0]):g} throughout"
    if flat:
        return "one number throughout each row"
    if alike and torch.equal(rows, rows[:1].expand_as(rows)):
        return _SAME_ROW
    return ""


def _whole(rows: torch.Tensor) -> bool:
    """Whether a matrix holds whole numbers alone, of more than one size."""
    sample = rows[sorted({round(share * (len(rows) - 1)) for share in _SHARES})]
    if not bool((sample == sample.round()).all()) or float(sample.abs().max()) < 2:
        return False
    return bool((rows == rows.round()).all())


def _runs(flags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where runs of true start and where they have ended."""
    edges = torch.diff(torch.nn.functional.pad(flags.to(torch.int8), (1, 1)))
    return torch.where(edges > 0)[0], torch.where(edges < 0)[0]


def _is_cut(rows: torch.Tensor, empty: torch.Tensor, place: int) -> bool:
    """Whether a row beside a run of empty ones goes on with it: a gap of the file, not of rows."""
    if not 0 <= place < len(rows):
        return False
    row = rows[place]
    before = place + 1 < len(rows) and bool(empty[place + 1])
    zero = (row if not before else row.flip(0)) == 0
    gap = int(zero.to(torch.int8).cumprod(0).sum())
    rest = len(row) - gap
    return gap >= _LEAST and rest >= _LEAST and int(row.count_nonzero()) > 0.9 * rest
