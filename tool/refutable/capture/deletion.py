"""What a model says without one of its blocks, for each block: prompts share passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from refutable.capture.edits import block_outputs, starting_behind
from refutable.capture.plain import written
from refutable.models.sites import find_sites

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from refutable.models.sites import Sites

    Tokens = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_LIKE = 2
"""Longest row of a pass against its shortest."""
_EQUAL = 1e-3
"""Largest difference, relative to the range, of logits of a shared pass and a prompt alone."""

_last: WeakKeyDictionary[Any, tuple[tuple[Any, ...], tuple[Tokens, Tokens]]] = WeakKeyDictionary()
"""By model, the last answer: two observables ask for the same one after the other."""


@torch.no_grad()
def tops_without_blocks(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]]
) -> tuple[Tokens, Tokens]:
    """Most probable next token after each prompt, intact and with each block left out.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In eval mode; a causal language model.
    prompts : sequence of sequence of int
        Token ids.

    Returns
    -------
    intact, deleted : array of int
        ``(prompt,)`` and ``(prompt, layer)``. Where a block is left out, the next one reads what it
        would have read.

    Notes
    -----
    Prompts lie in the rows of one pass, padded on the right: what comes later changes nothing in a
    causal model. That is seen to hold before it counts, and prompts run alone where it does not.
    What lies before the block that is left out is computed once, where a pass that starts behind a
    block was seen to give the very same.
    """
    # Weights that were changed in place since are other weights.
    key = (written(model), *(tuple(ids) for ids in prompts))
    known = _last.get(model)
    if known is None or known[0] != key:
        sites = find_sites(model)
        rows = [list(ids) for ids in prompts]
        alone = torch.cat([_logits(model, sites, [ids]) for ids in rows])
        shared = len(rows) > 1 and _equal(_logits(model, sites, rows), alone)
        deleted = np.empty((len(rows), len(sites.blocks)), dtype=np.int64)
        groups = _like_lengths(rows) if shared else [[place] for place in range(len(rows))]
        for places in groups:
            deleted[places] = _without_each(model, sites, [rows[place] for place in places])
        known = (key, (alone.argmax(-1).cpu().numpy(), deleted))
        _last[model] = known
    return known[1]


def _like_lengths(rows: list[list[int]]) -> list[list[int]]:
    """Places of rows that share a pass: of like length, so that little is padded."""
    groups: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
        if groups and len(rows[place]) <= _LIKE * len(rows[groups[-1][0]]) + _LIKE:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _equal(shared: torch.Tensor, alone: torch.Tensor) -> bool:
    span = float(alone.max() - alone.min())
    return bool((shared - alone).abs().max() <= _EQUAL * span)


def _without_each(model: PreTrainedModel, sites: Sites, rows: list[list[int]]) -> Tokens:
    """Top tokens, (prompt, layer)."""
    tokens, last = _padded(rows)
    with _only_last(sites, last):
        outputs = block_outputs(model, sites, tokens)
        shortened: list[Tokens] = []
        for layer, block in enumerate(sites.blocks):
            behind = layer if outputs is not None else 0
            handle = block.register_forward_hook(_passed_on, with_kwargs=True)
            try:
                with starting_behind(sites, outputs or (), behind):
                    shortened.append(_run(model, tokens, last).argmax(-1).cpu().numpy())
            finally:
                handle.remove()
    return np.stack(shortened, axis=1)


def _passed_on(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    """Hand on what a block was given in place of what it made."""
    given = args[0] if args else kwargs["hidden_states"]
    if isinstance(output, (tuple, list)):
        return type(output)((given, *output[1:]))
    return given


def _logits(model: PreTrainedModel, sites: Sites, rows: list[list[int]]) -> torch.Tensor:
    """Logits after the last token of each row, (prompt, vocabulary)."""
    tokens, last = _padded(rows)
    with _only_last(sites, last):
        return _run(model, tokens, last).float()


def _run(model: PreTrainedModel, tokens: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    device = next(model.parameters()).device
    out = model(input_ids=tokens.to(device), use_cache=False, return_dict=True)
    logits: torch.Tensor = out.logits
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[torch.arange(len(tokens), device=device), last.to(device)]


def _padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one length, (prompt, position), and where each ends."""
    width = max(len(row) for row in rows)
    padded = [row + row[-1:] * (width - len(row)) for row in rows]
    return torch.tensor(padded), torch.tensor([len(row) - 1 for row in rows])


@contextmanager
def _only_last(sites: Sites, last: torch.Tensor) -> Iterator[None]:
    """Let the unembedding, where there is one, see the last token of each row alone."""
    if sites.unembedding is None:
        yield
        return

    def select(module: nn.Module, args: Any) -> Any:
        states = args[0]
        if states.ndim != 3 or states.shape[1] <= int(last.max()):
            return None
        rows = torch.arange(len(states), device=states.device)
        return (states[rows, last[: len(states)].to(states.device)][:, None], *args[1:])

    handle = sites.unembedding.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
