"""Which of the tensors that pass between the blocks is the residual stream, found by following it.

A block may return a tensor, a tuple or a mapping, and take the stream in any place. The stream is
the tensor that one block makes, the next one gets, and whatever follows the last block reads,
position by position. Where no tensor does, residual observables are not available, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Entry = tuple[str | int, ...]
"""Where a tensor lies: keys and indices into a block's output, or into ``(args, kwargs)``."""

_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the residual stream is read."""

    given: Entry
    """Of each block's input: ``(0, i)`` is a positional argument, ``(1, name)`` one by name."""
    made: Entry
    """Of each block's output; empty where the output is the tensor itself."""
    dims: tuple[str, ...]
    """``batch, position, dim``, or ``position, batch, dim`` where time comes first."""
    problem: str
    """Why what is read there is no residual stream; empty when it is one."""
    breaks: Mapping[int, str]
    """Blocks that do not get what the block before made, with the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """What one block got and made, tensor by tensor; copies in float32 on the CPU."""

    given: Mapping[Entry, torch.Tensor]
    made: Mapping[Entry, torch.Tensor]


def leaves(value: object, depth: int = _DEPTH) -> Iterator[tuple[Entry, torch.Tensor]]:
    """Go through the floating-point tensors of nested tuples, lists and mappings."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.dim() > 1:
            yield (), value
    elif depth and isinstance(value, Mapping):
        for name, item in value.items():
            yield from (((name, *rest), leaf) for rest, leaf in leaves(item, depth - 1))
    elif depth and isinstance(value, tuple | list):
        for at, item in enumerate(value):
            yield from (((at, *rest), leaf) for rest, leaf in leaves(item, depth - 1))


def pick(value: Any, entry: Entry) -> torch.Tensor:
    """Return what lies at an entry of a nested value."""
    for key in entry:
        value = value[key]
    tensor: torch.Tensor = value
    return tensor


def put(value: Any, entry: Entry, new: torch.Tensor) -> Any:
    """Return a copy of a nested value with another tensor at an entry."""
    if not entry:
        return new
    key, *rest = entry
    inner = put(value[key], tuple(rest), new)
    if isinstance(value, Mapping):
        copy = value.copy() if hasattr(value, "copy") else dict(value)
        copy[key] = inner
        return copy
    items = [inner if at == key else item for at, item in enumerate(value)]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def copied(value: torch.Tensor) -> torch.Tensor:
    """Copy a tensor: what it holds may be changed in place later."""
    return value.detach().to("cpu", torch.float32, copy=True)


def equal(left: torch.Tensor, right: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors are equal up to rounding, entry by entry."""
    if left.shape != right.shape or not left.numel():
        return False
    # Values that are not finite are told of by another check; here they only have to be the same.
    left, right = torch.nan_to_num(left), torch.nan_to_num(right)
    scale = max(float(left.abs().max()), float(right.abs().max()), 1e-30)
    return bool((left - right).abs().max() <= tolerance * scale)


class StreamFinder:
    """Follows the stream through a recorded run of one prompt.

    Parameters
    ----------
    blocks : list of Passed
        In the order of the blocks.
    after : list of torch.Tensor
        What modules outside the blocks got after the last block had run.
    tokens : int
        Of the prompt.
    width : int
        Of the stream, as the config states it.
    tolerance : float
        Relative; what is equal up to rounding counts as equal.
    """

    def __init__(
        self,
        blocks: list[Passed],
        after: list[torch.Tensor],
        *,
        tokens: int,
        width: int,
        tolerance: float,
    ) -> None:
        self.blocks = blocks
        self.after = after
        self.tokens = tokens
        self.width = width
        self.tolerance = tolerance

    def find(self) -> Stream:
        """Find the stream, or why there is none."""
        pairs = [(i, o) for o in self._common("made") for i in self._common("given")]
        if not pairs:
            return Stream((0, 0), (), (), "the blocks hand no tensor from one to the next", {})
        given, made = max(pairs, key=self._score)
        breaks = self._breaks(given, made)
        shape = self.blocks[0].made[made].shape
        problem, dims = self._shape(shape)
        if not problem and breaks:
            problem = next(iter(breaks.values()))
        if not problem:
            problem = self._end(made)
        return Stream(given, made, dims, problem, breaks)

    def _common(self, side: str) -> list[Entry]:
        """Entries that every block has, in the order of the first block."""
        sides: list[Mapping[Entry, torch.Tensor]] = [getattr(b, side) for b in self.blocks]
        return [entry for entry in sides[0] if all(entry in other for other in sides)]

    def _score(self, pair: tuple[Entry, Entry]) -> tuple[bool, bool, int, bool, bool]:
        """Order of preference: it is changed, is read at the end, chains, and has the shape."""
        given, made = pair
        changes = any(not self._same(b.given[given], b.made[made]) for b in self.blocks)
        links = len(self.blocks) - 1 - len(self._breaks(given, made))
        shaped = not self._shape(self.blocks[0].made[made].shape)[0]
        fits = self.blocks[0].given[given].shape == self.blocks[0].made[made].shape
        read = any(self._same(self.blocks[-1].made[made], value) for value in self.after)
        return changes and fits, shaped, links, read, made in ((), (0,))

    def _same(self, left: torch.Tensor, right: torch.Tensor) -> bool:
        return equal(left, right, self.tolerance)

    def _breaks(self, given: Entry, made: Entry) -> dict[int, str]:
        breaks = {}
        for layer in range(1, len(self.blocks)):
            before, now = self.blocks[layer - 1].made[made], self.blocks[layer].given[given]
            if not self._same(before, now):
                breaks[layer] = f"block {layer} does not get what block {layer - 1} made" + (
                    self._factor(before, now)
                )
        return breaks

    def _factor(self, before: torch.Tensor, now: torch.Tensor) -> str:
        if before.shape != now.shape or not before.any():
            return ""
        before, now = torch.nan_to_num(before), torch.nan_to_num(now)
        factor = float((before * now).sum() / before.pow(2).sum())
        if factor and self._same(before * factor, now):
            return f" but {factor:.3g} times it: the stream is rescaled between blocks"
        return ""

    def _shape(self, shape: torch.Size) -> tuple[str, tuple[str, ...]]:
        """Say what is wrong with the shape of the stream, and name its dimensions."""
        plain, turned = ("batch", "position", "dim"), ("position", "batch", "dim")
        streams, rest = divmod(shape[-1], self.width)
        if len(shape) == 3 and streams > 1 and not rest:
            told = f"the blocks carry {shape[-1]} numbers a token, {streams} x {self.width}"
            return f"{told}: several residual streams side by side, of which none is the stream", ()
        if tuple(shape[:2]) == (1, self.tokens) and len(shape) == 3:
            return "", plain
        if tuple(shape[:2]) == (self.tokens, 1) and len(shape) == 3:
            return "", turned
        sizes = " x ".join(map(str, shape))
        told = f"the blocks carry {sizes} numbers for a prompt of {self.tokens} tokens"
        if len(shape) == 3 and shape[0] == 1:
            return (
                f"{told}: not one position a token (a prefix, or several streams side by side), "
                "so no position is that of a token alone",
                (),
            )
        if len(shape) == 4:
            return f"{told}: several residual streams, of which none is the stream", ()
        return f"{told}, not (batch, position, width)", ()

    def _end(self, made: Entry) -> str:
        last = self.blocks[-1].made[made]
        if any(self._same(last, value) for value in self.after):
            return ""
        for value in self.after:
            if told := self._factor(last, value):
                return f"what follows gets not what the last block made{told}"
        return (
            "nothing after the last block reads what it made: what the model goes on with is "
            "another tensor"
        )
