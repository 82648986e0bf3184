"""What a model says without one of its blocks, for each block: prompts and blocks share passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from refutable.capture.edits import outputs_of, starting_behind, starts_behind
from refutable.capture.last_answer import LastAnswer
from refutable.capture.rows import in_groups, last_logits, padded, run
from refutable.models.sites import find_sites

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from refutable.models.sites import Sites

    Tokens = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    Handed = torch.Tensor | tuple[torch.Tensor, ...] | list[torch.Tensor]

_TOKENS = 512
"""Tokens of a pass in which several blocks are left out, each in other rows."""

_last: LastAnswer[tuple[Tokens, Tokens]] = LastAnswer()


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
    Prompts lie in the rows of one pass, padded on the right, where that is seen to change nothing.
    What lies before the block that is left out is computed once, where a pass that starts behind a
    block was seen to give the very same. Neighbouring blocks are left out in rows of one pass.
    """
    rows = [list(ids) for ids in prompts]
    question = tuple(tuple(ids) for ids in rows)
    return _last.of(model, question, lambda: _tops(model, rows))


@torch.no_grad()
def _tops(model: PreTrainedModel, rows: list[list[int]]) -> tuple[Tokens, Tokens]:
    sites = find_sites(model)
    groups = in_groups(model, sites, rows)
    intact = np.empty(len(rows), dtype=np.int64)
    deleted = np.empty((len(rows), len(sites.blocks)), dtype=np.int64)
    short = sorted(rows, key=len)[:1] * 2
    prefix = starts_behind(model, sites, torch.tensor(short))
    for group in groups:
        some = [rows[place] for place in group]
        intact[group] = last_logits(model, sites, some).argmax(-1).cpu().numpy()
        deleted[group] = _without_each(model, sites, some, prefix=prefix)
    return intact, deleted


def _without_each(
    model: PreTrainedModel, sites: Sites, rows: list[list[int]], *, prefix: bool
) -> Tokens:
    """Top tokens, (prompt, layer)."""
    tokens, last = padded(rows)
    outputs = outputs_of(model, sites, tokens)[0]
    together = max(1, _TOKENS // tokens.numel())
    if not all(_by_row(output, len(rows)) for output in outputs):
        together = 1
    tops: list[Tokens] = []
    for first in range(0, len(sites.blocks), together):
        layers = range(first, min(first + together, len(sites.blocks)))
        count = len(layers)
        # Of what is handed on, the next block reads the last alone.
        known = [_repeated(outputs[first - 1], count)] * first if prefix and first else []
        left_out = _left_out(sites, {layer: at for at, layer in enumerate(layers)}, len(rows))
        with left_out, starting_behind(sites, known, len(known)):
            logits = run(model, sites, tokens.repeat(count, 1), last.repeat(count))
        tops.extend(logits.argmax(-1).cpu().numpy().reshape(count, len(rows)))
    return np.stack(tops, axis=1)


def _by_row(output: object, rows: int) -> bool:
    """Whether a block hands on a tensor, or several, with the rows of the pass first."""
    parts = output if isinstance(output, (tuple, list)) else (output,)
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return bool(tensors) and all(t.ndim == 3 and t.shape[0] == rows for t in tensors)


def _repeated(output: object, count: int) -> object:
    if count == 1:
        return output
    if isinstance(output, torch.Tensor):
        return output.repeat(count, 1, 1)
    assert isinstance(output, (tuple, list))  # noqa: S101  (`_by_row` saw to it)
    return type(output)(_repeated(i, count) if isinstance(i, torch.Tensor) else i for i in output)


@contextmanager
def _left_out(sites: Sites, indices: Mapping[int, int], rows: int) -> Iterator[None]:
    """Leave each of some blocks out in other rows of a pass."""
    handles = []
    for layer, at in indices.items():
        where = slice(at * rows, (at + 1) * rows) if len(indices) > 1 else slice(None)
        hook = partial(_passed_on, where)
        handles.append(sites.blocks[layer].register_forward_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _passed_on(
    where: slice,
    module: nn.Module,
    args: tuple[torch.Tensor, ...],
    kwargs: Mapping[str, torch.Tensor],
    output: Handed,
) -> Handed:
    """Hand on, in some rows, what a block was given in place of what it made."""
    given = args[0] if args else kwargs["hidden_states"]
    made = output[0] if isinstance(output, (tuple, list)) else output
    if where != slice(None):
        changed = made.clone()
        changed[where] = given[where]
        given = changed
    if isinstance(output, (tuple, list)):
        return type(output)((given, *output[1:]))
    return given
