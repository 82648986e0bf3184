"""Attention patterns that a pass reads against those of the model's own eager attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.capture.hooks import Capture
from refutable.capture.interface import attention_implementation
from refutable.capture.packing import Pack, make_packs
from refutable.capture.plan import Plan
from refutable.capture.recorder import PATTERN, Patterns, Recorder
from refutable.errors import NotAvailableError
from refutable.models.placement import input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.models.encode import Encoded
    from refutable.models.sites import Sites

_PROMPTS = 2
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Comparison:
    """Patterns read in a pass against those of eager attention."""

    difference: float
    """Largest absolute difference of an attention weight."""
    lowest: float
    """Smallest weight."""
    excess: float
    """Largest deviation of a row's sum from 1, or from the model's own where that is not 1."""
    own_excess: float
    """Largest deviation from 1 of the sum of a row of the model's own (attention sinks)."""
    calls: int
    """Blocks whose attention went through the registered function."""
    once: bool
    """Whether none of them did so more than once."""


class _KeepPatterns(Recorder):
    name = "check_patterns"
    reads = (PATTERN,)

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], torch.Tensor] = {}

    def read(self, site: str, layer: int, view: Patterns) -> None:
        for at, (prompt, length) in enumerate(
            zip(view.prompts.tolist(), view.lengths.tolist(), strict=True)
        ):
            self.kept[layer, prompt] = view.pattern[at, :, :length, :length].cpu()

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        return torch.zeros(len(pack.segments))


def compare_patterns(
    model: PreTrainedModel, sites: Sites, encoded: Encoded, layout: str
) -> Comparison:
    """Read the patterns of two short prompts in both ways.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model.
    sites : Sites
        Its parts.
    encoded : Encoded
        Prompts to choose from: the shortest two of two tokens or more, at most 256 tokens of each.
    layout : str
        Layout in which the pass reads them.

    Raises
    ------
    NotAvailableError
        If the model's own eager attention returns no weights.
    """
    ids = sorted((x for x in encoded.ids if len(x) > 1), key=len)[:_PROMPTS] or encoded.ids[:1]
    ids = tuple(x[:_LONGEST] for x in ids)
    eager = [_eager(model, sites, x) for x in ids]
    keeper = _KeepPatterns()
    calls: dict[int, int] = {}
    read: dict[tuple[int, int], torch.Tensor] = {}
    budget = sum(len(x) for x in ids)
    packs = make_packs([len(x) for x in ids], layout, token_budget=budget)
    with Capture(model, sites, Plan((), (keeper,))) as capture:
        for pack in packs:
            capture.run(pack, ids)
            calls = capture.calls
            for (layer, at), pattern in keeper.kept.items():
                read[layer, pack.prompts[at]] = pattern
            keeper.kept.clear()
    pairs = [
        (read[layer, i], eager[i][layer]) for i in range(len(ids)) for layer in range(len(eager[i]))
    ]
    return Comparison(
        difference=max(float((a - b).abs().max()) for a, b in pairs),
        lowest=min(float(a.min()) for a, _ in pairs),
        excess=_excess(pairs),
        own_excess=max(float((b.sum(-1) - 1).abs().max()) for _, b in pairs),
        calls=len(calls),
        once=all(count == 1 for count in calls.values()),
    )


def _excess(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    from_one = max(float((a.sum(-1) - 1).abs().max()) for a, _ in pairs)
    from_own = max(float((a.sum(-1) - b.sum(-1)).abs().max()) for a, b in pairs)
    return min(from_one, from_own)


def _eager(model: PreTrainedModel, sites: Sites, ids: Sequence[int]) -> list[torch.Tensor]:
    """Patterns of one prompt, alone, block by block: head, query, key."""
    patterns: list[torch.Tensor] = []

    def hook(module: nn.Module, args: object, output: object) -> None:
        weights = [
            item
            for item in (output if isinstance(output, (tuple, list)) else ())
            if torch.is_tensor(item) and item.shape[2:] == (len(ids), len(ids))
        ]
        if not weights:
            raise NotAvailableError(
                f"eager attention of {type(module).__name__} returns no weights: attention "
                "patterns cannot be checked for this model"
            )
        patterns.append(weights[0][0].float().cpu())

    modules = [module for module in sites.attentions if module is not None]
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        with torch.no_grad(), attention_implementation(model, "eager"):
            device = input_device(model)
            model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return patterns
