"""A pack as tensors: model inputs and the indices that find each prompt's tokens in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from refutable.capture.packing import Pack, Segment, like_lengths


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts of like length whose attention is computed in one call."""

    prompts: torch.Tensor
    """Indices into the pack's segments: prompt."""
    lengths: torch.Tensor
    rows: torch.Tensor
    """Row of the batch each prompt lies in: prompt, 1."""
    positions: torch.Tensor
    """Position in that row: prompt, position; the last token repeated beyond a prompt's end."""
    beyond: torch.Tensor
    """True beyond a prompt's end: prompt, position."""
    weights: torch.Tensor
    """1 / (length - 1) in rows t >= 1 of a prompt, else 0; NaN without such a row."""
    flat: torch.Tensor
    """Index of each position among all tokens of the pass: prompt * position."""

    def to(self, device: torch.device) -> Group:
        """The same group on another device."""
        return Group(*(getattr(self, item.name).to(device) for item in fields(self)))


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass, ready to run on a device."""

    pack: Pack
    inputs: dict[str, torch.Tensor]
    """Keyword arguments of the model."""
    last: torch.Tensor
    """Flat index of each prompt's last token."""
    tokens: torch.Tensor
    """Flat indices of all tokens, prompt after prompt."""
    lengths: torch.Tensor
    grid: torch.Tensor
    """Which of `tokens` lies at a prompt's position: prompt, position; 0 beyond its end."""
    outside: torch.Tensor
    """True beyond a prompt's end: prompt, position."""
    groups: tuple[Group, ...]
    unsort: torch.Tensor
    """For every position of the pass, where it lies in the groups laid end to end."""

    @property
    def contiguous(self) -> bool:
        """Whether `tokens` are all positions in order, so that no gather is needed."""
        return self.pack.contiguous


def make_batch(
    pack: Pack, ids: Sequence[Sequence[int]], device: torch.device | str, *, attention: bool
) -> Batch:
    """Build the inputs of a pack.

    Parameters
    ----------
    pack : Pack
        Where each prompt lies.
    ids : sequence of sequence of int
        Token ids of all prompts of the set.
    device : torch.device or str
        Where the model lives.
    attention : bool
        Whether attention is computed group by group, which needs `Batch.groups`.

    Notes
    -----
    A packed pass has no attention mask: transformers tells the prompts apart by the position ids,
    which restart at 0. Right-padded rows need no position ids, the model counts from 0 by itself.
    """
    tokens = np.zeros((pack.rows, pack.width), dtype=np.int64)
    positions = np.zeros_like(tokens)
    mask = np.zeros_like(tokens)
    for segment in _outermost(pack):
        span = slice(segment.start, segment.start + segment.length)
        tokens[segment.row, span] = ids[segment.prompt]
        positions[segment.row, span] = np.arange(segment.length)
        mask[segment.row, span] = 1
    inputs = {"input_ids": tokens}
    if pack.layout == "packed":
        inputs["position_ids"] = positions
    elif pack.layout == "padded":
        inputs["attention_mask"] = mask
    starts = np.array([s.row * pack.width + s.start for s in pack.segments])
    lengths = np.array([s.length for s in pack.segments])
    before = np.cumsum(lengths) - lengths
    flat = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    steps = np.arange(lengths.max())
    outside = steps >= lengths[:, None]
    grid = np.where(outside, 0, before[:, None] + steps)
    groups = [_group(pack, members) for members in like_lengths(pack)] if attention else []

    def place(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Batch(
        pack=pack,
        inputs={name: place(array) for name, array in inputs.items()},
        last=place(starts + lengths - 1),
        tokens=place(flat),
        lengths=place(lengths),
        grid=place(grid),
        outside=place(outside),
        groups=tuple(Group(**{k: place(v) for k, v in group.items()}) for group in groups),
        unsort=place(_unsort(pack, groups)),
    )


def _outermost(pack: Pack) -> Sequence[Segment]:
    """Return the segments that hold all tokens: of those that begin in one place the longest."""
    longest: dict[tuple[int, int], Segment] = {}
    for segment in pack.segments:
        place = (segment.row, segment.start)
        if place not in longest or longest[place].length < segment.length:
            longest[place] = segment
    return list(longest.values())


_Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]


def _group(pack: Pack, members: Sequence[int]) -> _Arrays:
    segments = [pack.segments[i] for i in members]
    lengths = np.array([s.length for s in segments])
    steps = np.arange(lengths.max())
    start = np.array([s.start for s in segments])[:, None]
    positions = start + np.minimum(steps, lengths[:, None] - 1)
    rows = np.array([s.row for s in segments])[:, None]
    inside = steps < lengths[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1.0 / (lengths[:, None] - 1)
        weights = np.where(lengths[:, None] > 1, (inside & (steps >= 1)) * share, np.nan)
    return {
        "prompts": np.array(members),
        "lengths": lengths,
        "rows": rows,
        "positions": positions,
        "beyond": ~inside,
        "weights": weights.astype(np.float32),
        "flat": (rows * pack.width + positions).reshape(-1),
    }


def _unsort(
    pack: Pack, groups: Sequence[_Arrays]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    where = np.zeros(pack.rows * pack.width, dtype=np.int64)
    offset = 0
    for group in groups:
        inside = np.logical_not(group["beyond"]).reshape(-1)
        where[group["flat"][inside]] = offset + np.flatnonzero(inside)
        offset += inside.size
    return where
