"""Prompts as the rows of one pass, padded on the right, where a model is seen to allow it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from refutable.capture.tensors import after

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.models.sites import Sites

    Rows = list[list[int]]

_LIKE = 2
"""Longest row of a pass against its shortest."""
_EQUAL = 1e-3
"""Largest difference, relative to the range, of logits of a shared pass and a prompt alone."""
_TRIED = 4
"""Prompts that are run alone and beside each other before others share a pass."""


def in_groups(model: PreTrainedModel, sites: Sites, rows: Rows) -> list[list[int]]:
    """Places of the prompts that share a pass: of like length, so that little is padded.

    What comes later changes nothing in a causal model. That is seen to hold on the shortest, the
    longest and two between before it counts; prompts run alone where it does not.
    """
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    tried = sorted({order[round(i * (len(order) - 1) / (_TRIED - 1))] for i in range(_TRIED)})
    some = [rows[place] for place in tried]
    alone = torch.cat([last_logits(model, sites, [row]) for row in some])
    span = float(alone.max() - alone.min())
    apart = (last_logits(model, sites, some) - alone).abs().max()
    if len(some) < 2 or float(apart) > _EQUAL * span:
        return [[place] for place in order]
    groups: list[list[int]] = []
    for place in order:
        if groups and len(rows[place]) <= _LIKE * len(rows[groups[-1][0]]) + _LIKE:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def padded(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one length, (prompt, position), and where each ends."""
    width = max(len(row) for row in rows)
    filled = [row + row[-1:] * (width - len(row)) for row in rows]
    return torch.tensor(filled), torch.tensor([len(row) - 1 for row in rows])


@torch.no_grad()
def last_logits(model: PreTrainedModel, sites: Sites, rows: Rows) -> torch.Tensor:
    """Logits after the last token of each row, (prompt, vocabulary)."""
    tokens, last = padded(rows)
    return run(model, sites, tokens, last).float()


@torch.no_grad()
def last_states(model: PreTrainedModel, sites: Sites, rows: Rows) -> torch.Tensor:
    """Stream of each row's last token behind each block, (prompt, layer, dim)."""
    states: dict[int, torch.Tensor] = {}
    for group in in_groups(model, sites, rows):
        states |= zip(group, _states(model, sites, [rows[p] for p in group]), strict=True)
    return torch.stack([states[place] for place in range(len(rows))])


def _states(model: PreTrainedModel, sites: Sites, rows: Rows) -> torch.Tensor:
    tokens, last = padded(rows)
    kept: list[torch.Tensor] = []

    def keep(value: torch.Tensor) -> None:
        kept.append(value[torch.arange(len(value)), last.to(value.device)].clone())

    with ExitStack() as stack:
        for layer in range(len(sites.blocks)):
            site = sites[f"blocks.{layer}.resid_post"]
            turned = site.dims[:1] == ("position",)
            see = (lambda value: keep(value.transpose(0, 1))) if turned else keep
            stack.callback(site.module.register_forward_hook(after(see, site.entry)).remove)
        run(model, sites, tokens, last)
    return torch.stack(kept, dim=1)


def run(
    model: PreTrainedModel, sites: Sites, tokens: torch.Tensor, last: torch.Tensor
) -> torch.Tensor:
    """Logits after the last token of each row: (prompt, vocabulary)."""
    device = next(model.parameters()).device
    with _only_last(sites, last):
        out = model(input_ids=tokens.to(device), use_cache=False, return_dict=True)
    logits: torch.Tensor = out.logits
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[torch.arange(len(tokens), device=device), last.to(device)]


@contextmanager
def _only_last(sites: Sites, last: torch.Tensor) -> Iterator[None]:
    """Let the unembedding, where there is one, see the last token of each row alone."""
    if sites.unembedding is None:
        yield
        return

    def select(
        module: torch.nn.Module, args: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...] | None:
        states = args[0]
        if states.ndim != 3 or len(states) != len(last) or states.shape[1] <= int(last.max()):
            return None
        rows = torch.arange(len(states), device=states.device)
        return (states[rows, last.to(states.device)][:, None], *args[1:])

    handle = sites.unembedding.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
