"""How prompts are laid out in forward passes: packed, right-padded or single."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refutable.errors import InstrumentError

LAYOUTS = ("packed", "padded", "single")

# Right-padded rows of one batch differ in length by at most this factor.
_LIKE_LENGTH = 1.25
# Segments whose attention is computed together differ by at most this factor, or lie below a
# length at which the cost of a call outweighs the cost of the padding.
_GROUP_FACTOR = 1.5
_GROUP_SHORT = 24


@dataclass(frozen=True, slots=True)
class Segment:
    """Where one prompt lies in a forward pass."""

    prompt: int
    """Index of the prompt in the encoded prompt set."""
    row: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass over several prompts."""

    layout: str
    rows: int
    width: int
    """Tokens a row holds, padding included."""
    segments: tuple[Segment, ...]

    @property
    def prompts(self) -> tuple[int, ...]:
        """Indices of the prompts, in the order in which they lie in the pack."""
        return tuple(segment.prompt for segment in self.segments)

    @property
    def tokens(self) -> int:
        """Tokens of the prompts, padding not counted."""
        return sum(segment.length for segment in self.segments)

    @property
    def contiguous(self) -> bool:
        """Whether the prompts' tokens, one prompt after another, are all positions in order."""
        return self.layout != "padded" and self.tokens == self.rows * self.width


def make_packs(
    lengths: Sequence[int], layout: str, *, token_budget: int, most_prompts: int | None = None
) -> tuple[Pack, ...]:
    """Lay prompts out in forward passes.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each prompt; every one is 1 or more.
    layout : {"packed", "padded", "single"}
        Concatenated in one row; one row each, right-padded, with rows of like length; alone.
    token_budget : int
        Tokens (padding included) that one pass may hold. A longer prompt gets a pass of its own.
    most_prompts : int, optional
        Prompts that one pass may hold.

    Returns
    -------
    tuple of Pack
        Together they hold every prompt exactly once.

    Raises
    ------
    InstrumentError
        If there is nothing to measure, a prompt is empty or the layout is unknown.
    """
    if layout not in LAYOUTS:
        raise InstrumentError(f"expected layout to be one of {LAYOUTS}, got layout={layout!r}")
    if not lengths:
        raise InstrumentError("no prompts to measure: the selection is empty")
    if min(lengths) < 1:
        raise InstrumentError(f"prompt {lengths.index(min(lengths))} holds no token: remove it")
    limit = most_prompts or len(lengths)
    if layout == "packed":
        return _packed(lengths, token_budget, limit)
    if layout == "padded":
        return _padded(lengths, token_budget, limit)
    return tuple(
        Pack("single", 1, length, (Segment(i, 0, 0, length),)) for i, length in enumerate(lengths)
    )


def _packed(lengths: Sequence[int], budget: int, limit: int) -> tuple[Pack, ...]:
    packs: list[Pack] = []
    current: list[Segment] = []
    used = 0
    for index, length in enumerate(lengths):
        if current and (used + length > budget or len(current) >= limit):
            packs.append(Pack("packed", 1, used, tuple(current)))
            current, used = [], 0
        current.append(Segment(index, 0, used, length))
        used += length
    packs.append(Pack("packed", 1, used, tuple(current)))
    return tuple(packs)


def make_rows(
    lengths: Sequence[int],
    *,
    token_budget: int,
    width: int | None = None,
    most_prompts: int | None = None,
    least: int = 4,
) -> tuple[Pack, ...]:
    """Lay prompts of one length out beside each other in rows; what is left over is packed.

    Rows of one length need no padding and no mask but the causal one, and their attention costs
    what that of each prompt costs, not what the square of a pack's width does.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each prompt; every one is 1 or more.
    token_budget, most_prompts
        As for `make_packs`.
    width : int, optional
        Tokens that a row of prompts which are left over may hold; the budget by default.
    least : int
        Prompts of one length that are worth a pass of their own.
    """
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    packs: list[Pack] = []
    left: list[int] = []
    for length, members in sorted(by_length.items()):
        if len(members) < least:
            left += members
            continue
        most = max(1, min(token_budget // length, most_prompts or len(members)))
        for first in range(0, len(members), most):
            rows = members[first : first + most]
            segments = tuple(Segment(i, row, 0, length) for row, i in enumerate(rows))
            packs.append(Pack("padded", len(rows), length, segments))
    if left:
        limit = most_prompts or len(left)
        others = _packed([lengths[i] for i in left], width or token_budget, limit)
        for pack in others:
            segments = tuple(replace(s, prompt=left[s.prompt]) for s in pack.segments)
            packs.append(replace(pack, segments=segments))
    return tuple(packs)


def _padded(lengths: Sequence[int], budget: int, limit: int) -> tuple[Pack, ...]:
    packs: list[Pack] = []
    batch: list[int] = []

    def close() -> None:
        width = max(lengths[i] for i in batch)
        segments = tuple(Segment(i, row, 0, lengths[i]) for row, i in enumerate(batch))
        packs.append(Pack("padded", len(batch), width, segments))

    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        width = lengths[index]
        if batch and (
            width > _LIKE_LENGTH * lengths[batch[0]] + 1
            or width * (len(batch) + 1) > budget
            or len(batch) >= limit
        ):
            close()
            batch = []
        batch.append(index)
    close()
    return tuple(packs)


def nested(packs: Sequence[Pack], parts: Sequence[Sequence[int]]) -> tuple[Pack, ...]:
    """Let prompts lie in the same places as the longer prompts that they are beginnings of.

    Parameters
    ----------
    packs : sequence of Pack
        Of the longer prompts.
    parts : sequence of sequence of int
        For each longer prompt, by its number, the lengths of the prompts that take its place; the
        first is the longest and none is longer than it.

    Returns
    -------
    tuple of Pack
        Of the parts, numbered in the order of `parts`. In a causal model a token knows nothing of
        those behind it, so that every part has the numbers that it has alone.
    """
    first = [0]
    for lengths in parts:
        first.append(first[-1] + len(lengths))
    return tuple(
        replace(
            pack,
            segments=tuple(
                Segment(first[whole.prompt] + k, whole.row, whole.start, length)
                for whole in pack.segments
                for k, length in enumerate(parts[whole.prompt])
            ),
        )
        for pack in packs
    )


def halves(pack: Pack) -> tuple[Pack, ...]:
    """Cut a pack that does not fit into two of half its tokens; one prompt cannot be cut."""
    packs: list[Pack] = []
    middle = sum(segment.length for segment in pack.segments) / 2
    parts: tuple[list[Segment], list[Segment]] = ([], [])
    used = 0
    for segment in pack.segments:
        parts[bool(parts[0]) and used + segment.length / 2 > middle].append(segment)
        used += segment.length
    for part in parts:
        if pack.layout == "padded":
            rows = [Segment(s.prompt, row, 0, s.length) for row, s in enumerate(part)]
            width = max((s.length for s in part), default=0)
        else:
            rows, width = [], 0
            for segment in part:
                rows.append(Segment(segment.prompt, 0, width, segment.length))
                width += segment.length
        if rows:
            count = len(rows) if pack.layout == "padded" else 1
            packs.append(Pack(pack.layout, count, width, tuple(rows)))
    return tuple(packs)


def within(pack: Pack, most: int) -> list[Pack]:
    """Cut a pack until no part has more tokens, or only one prompt is left in it."""
    if pack.tokens <= most or len(pack.segments) == 1:
        return [pack]
    return [part for half in halves(pack) for part in within(half, most)]


def like_lengths(pack: Pack) -> tuple[tuple[int, ...], ...]:
    """Group the segments of a pack by like length.

    Returns
    -------
    tuple of tuple of int
        Indices into ``pack.segments``. Attention of one group is computed in one call, padded to
        the longest segment of the group, so that its cost is that of the segments and not that of
        the square of the pack's width.
    """
    order = sorted(range(len(pack.segments)), key=lambda i: (pack.segments[i].length, i))
    groups: list[list[int]] = []
    for index in order:
        length = pack.segments[index].length
        if groups and length <= max(
            _GROUP_SHORT, _GROUP_FACTOR * pack.segments[groups[-1][0]].length
        ):
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups)


def choose(lengths: Sequence[int], most: int = 6) -> tuple[int, ...]:
    """Choose prompts of different length: the two shortest, the longest and some between.

    Returns
    -------
    tuple of int
        Indices, by rising length, so that the two shortest share a pack whenever any two can.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    end = len(order) - 1
    indices = sorted({min(1, end), *(round(end * i / (most - 2)) for i in range(most - 1))})
    return tuple(order[place] for place in indices)
