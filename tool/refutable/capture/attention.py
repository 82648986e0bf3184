"""Attention patterns during a pass: computed prompt by prompt, reduced, dropped.

`AttentionPass.attend` serves every architecture that goes through transformers' attention
interface. It hands the arithmetic to the modeling file's own eager attention, so that soft caps and
sinks are the model's. Attention modules outside that interface are read by a hook on the module,
which returns its weights beside its output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from refutable.capture.batch import Batch, Group
from refutable.capture.interface import eager_attention
from refutable.capture.recorder import PATTERN, Recorder
from refutable.errors import InstrumentError, NotAvailableError

_ROUNDING = 1e-3
"""Largest negative weight, and weight on a later token, that rounding leaves in 16 bits."""


@dataclass(frozen=True, slots=True)
class GroupPatterns:
    """Patterns of prompts of like length in one block; `Patterns` in `recorder` says more."""

    group: Group
    pattern: torch.Tensor

    @property
    def prompts(self) -> torch.Tensor:
        """Indices into the pack's segments."""
        return self.group.prompts

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each prompt."""
        return self.group.lengths

    def row_mean(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean over rows t >= 1: (prompt, head, query) to (prompt, head)."""
        return torch.einsum("phq,pq->ph", rows, self.group.weights)


class AttentionPass:
    """State of attention during one pass over a prompt set."""

    def __init__(self, modules: Mapping[int, nn.Module], recorders: Sequence[Recorder]) -> None:
        self.modules = modules
        """The attention module of each block that is read."""
        self._layers = {id(module): layer for layer, module in modules.items()}
        self._recorders = tuple(recorders)
        self._batch: Batch | None = None
        self._masks: dict[int, tuple[torch.Tensor, tuple[torch.Tensor, ...]]] = {}
        self._moved: dict[torch.device, tuple[Group, ...]] = {}
        self.calls: dict[int, int] = {}
        """How often the registered function was called for each block in the current pack."""
        self.read: dict[int, int] = {}
        """How often each block's patterns were read in the current pack, by whichever way."""

    def begin(self, batch: Batch) -> None:
        """Start a pack."""
        self._batch = batch
        self._moved.clear()
        self._masks.clear()
        self.calls.clear()
        self.read.clear()

    def end(self) -> None:
        """Check that every block's attention was read exactly once."""
        self._batch = None
        self._masks.clear()
        wrong = [layer for layer in self._layers.values() if self.read.get(layer, 0) != 1]
        if wrong:
            raise InstrumentError(
                f"attention of block {wrong[0]} was read {self.read.get(wrong[0], 0)} times in a "
                f"pass instead of once ({len(wrong)} of {len(self._layers)} blocks)"
            )

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Stand in for a block's attention; shapes as in transformers' attention interface."""
        eager = eager_attention(module)
        layer = self._layers.get(id(module))
        if layer is None or self._batch is None:
            return eager(module, query, key, value, mask, **kwargs)
        if kwargs.get("position_bias") is not None:
            raise NotAvailableError(
                f"attention of block {layer} adds a position bias of its own: patterns are not "
                "available for this architecture"
            )
        self.calls[layer] = self.calls.get(layer, 0) + 1
        self.read[layer] = self.read.get(layer, 0) + 1
        there = self._groups_on(query.device)
        masks = self._group_masks(mask, query)
        parts = []
        for group, here, of_group in zip(self._batch.groups, there, masks, strict=True):
            states = [_gather(states, here) for states in (query, key, value)]
            made, pattern = eager(module, *states, of_group, **kwargs)
            self._reduce(layer, group, pattern.to(group.prompts.device))
            parts.append(made.contiguous().flatten(0, 1))
        out = torch.cat(parts).index_select(0, self._batch.unsort.to(query.device))
        return out.view(query.shape[0], query.shape[2], *out.shape[1:]), None

    def _groups_on(self, device: torch.device) -> tuple[Group, ...]:
        """The pack's groups where a block lies, which may be elsewhere than the inputs."""
        assert self._batch is not None  # noqa: S101  (only called inside a pack)
        if device == self._batch.last.device:
            return self._batch.groups
        if device not in self._moved:
            self._moved[device] = tuple(group.to(device) for group in self._batch.groups)
        return self._moved[device]

    def _group_masks(
        self, mask: torch.Tensor | None, query: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Cut each group's masks out of the pass's mask; blocks share masks, so cut once."""
        key = id(mask)
        if key not in self._masks:
            there = self._groups_on(query.device)
            cut = tuple(_cut_mask(mask, query, group) for group in there)
            # The mask is kept beside its cuts so that its id cannot be reused.
            self._masks[key] = (query if mask is None else mask, cut)
        return self._masks[key][1]

    def module_hook(self, layer: int) -> Callable[..., None]:
        """Return a forward hook that reads the weights an attention module returns by itself."""

        def hook(module: nn.Module, args: object, output: object) -> None:
            if self._batch is None or self.calls.get(layer):
                return
            weights = _returned_weights(output, self._batch)
            if weights is not None:
                weights = weights.to(self._batch.last.device)
            if weights is None or not _are_weights(weights, self._batch):
                raise NotAvailableError(
                    f"attention patterns of block {layer} are not available: "
                    f"{type(module).__name__} neither uses transformers' attention interface nor "
                    "returns its weights"
                )
            self.read[layer] = self.read.get(layer, 0) + 1
            for group in self._batch.groups:
                rows, steps = group.rows[:, :, None], group.positions
                cut = weights[rows, :, steps[:, :, None], steps[:, None, :]].permute(0, 3, 1, 2)
                self._reduce(layer, group, cut.masked_fill(group.beyond[:, None, None, :], 0.0))

        return hook

    def _reduce(self, layer: int, group: Group, pattern: torch.Tensor) -> None:
        view = GroupPatterns(group, pattern.float())
        for recorder in self._recorders:
            recorder.read(PATTERN, layer, view)


def _gather(states: torch.Tensor, group: Group) -> torch.Tensor:
    """Take a group out of (row, head, position, d_head): prompt, head, position, d_head."""
    heads, dim = states.shape[1], states.shape[3]
    if states.shape[0] == 1:
        picked = states[0].index_select(1, group.flat)
    else:
        picked = states.transpose(0, 1).flatten(1, 2).index_select(1, group.flat)
    prompts, positions = group.positions.shape
    return picked.view(heads, prompts, positions, dim).transpose(0, 1)


def _cut_mask(mask: torch.Tensor | None, query: torch.Tensor, group: Group) -> torch.Tensor:
    """Cut a group's additive masks out: prompt, head or 1, query, key."""
    lowest = torch.finfo(query.dtype).min
    steps = group.positions
    if mask is None:
        future = torch.ones(steps.shape[1], steps.shape[1], dtype=torch.bool, device=query.device)
        causal = torch.zeros_like(future, dtype=query.dtype).masked_fill(future.triu(1), lowest)
        causal = causal.expand(steps.shape[0], 1, -1, -1)
    else:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, lowest)
        mask = mask.expand(query.shape[0], -1, -1, -1)
        rows = group.rows[:, :, None]
        causal = mask[rows, :, steps[:, :, None], steps[:, None, :]].permute(0, 3, 1, 2)
    return causal.masked_fill(group.beyond[:, None, None, :], lowest).contiguous()


def _returned_weights(output: object, batch: Batch) -> torch.Tensor | None:
    """Find attention weights (row, head, query, key) in what an attention module returned."""
    width, rows = batch.pack.width, batch.pack.rows
    for item in output if isinstance(output, (tuple, list)) else ():
        if torch.is_tensor(item) and item.ndim == 4:
            if item.shape[0] == rows and item.shape[2:] == (width, width):
                return item
    return None


def _are_weights(weights: torch.Tensor, batch: Batch) -> bool:
    """Whether what has the shape of weights is that: no negative one, none on later tokens.

    The state of linear attention has that shape too where prompts are as long as a head is wide.
    """
    for group in batch.groups:
        rows, steps = group.rows[:, :, None], group.positions
        cut = weights[rows, :, steps[:, :, None], steps[:, None, :]].permute(0, 3, 1, 2)
        cut = cut.masked_fill(group.beyond[:, None, None, :], 0.0)
        if bool((cut < -_ROUNDING).any()) or bool((cut.triu(1).abs() > _ROUNDING).any()):
            return False
    return True
