"""Rows and columns of a tensor by what they are: heads, experts, neurons; and which go together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refutable.gate.facts import spans
from refutable.gate.tensors import TensorChange

_WIDTH = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "num_heads")
_KEYS = ("num_key_value_heads", "multi_query_group_num", *_HEADS)
_FEED_FORWARD = ("mlp", "ffn", "feed_forward", "experts", ".fc")


def named_lines(change: TensorChange, config: Mapping[str, Any], shape: Sequence[int]) -> str:
    """Name the rows or columns that changed, by heads or experts where they are whole ones."""
    if not change.lines or change.way == "both":
        return ""
    for word, size in (("head", head_lines(change, config)), ("expert", _of_expert(change, shape))):
        if size and are_whole(change.lines, size):
            units = sorted({i // size for i in change.lines})
            return f"{word}{'s' if len(units) > 1 else ''} {spans(units)} of "
    word = {"row": "rows", "col": "columns"}[change.way]
    return f"{len(change.lines)} of {change.size} {word} ({spans(list(change.lines))}) of "


def head_lines(change: TensorChange, config: Mapping[str, Any]) -> int:
    """How many rows (columns) a head has; 0 where they are not heads' one after the other."""
    if not any(word in change.name.lower() for word in ("attn", "attention")):
        return 0
    heads, width = _stated(config, _HEADS), _stated(config, _WIDTH)
    size = _stated(config, ("head_dim",)) or (width // heads if heads else 0)
    # One matrix of queries, keys and values together has another order in each class.
    return size if change.size in (size * heads, size * _stated(config, _KEYS)) else 0


def are_whole(lines: Sequence[int], size: int) -> bool:
    """Whether rows (columns) make up whole runs of a size."""
    held = set(lines)
    return all(set(range(i // size * size, i // size * size + size)) <= held for i in held)


def are_mates(
    changes: Sequence[TensorChange], shapes: Mapping[str, Sequence[int]], config: Mapping[str, Any]
) -> set[str]:
    """Find the permuted tensors that can be permuted consistently with others.

    Neurons that stand in another order do so in each tensor of the feed-forward that has them; a
    permutation in some of them alone is none that the function bears.
    """
    permuted = {c.name: c for c in changes if c.what == "permuted"}
    return {name for name, c in permuted.items() if _has_mates(c, permuted, shapes, config)}


def _has_mates(
    change: TensorChange,
    permuted: Mapping[str, TensorChange],
    shapes: Mapping[str, Sequence[int]],
    config: Mapping[str, Any],
) -> bool:
    if change.way == "both" or not any(word in change.name for word in _FEED_FORWARD):
        return True
    if change.size == _stated(config, _WIDTH):
        return True
    for name, way in _sides(change, shapes):
        other = permuted.get(name)
        if other is None or (other.way in (way, "values") and other.lines != change.lines):
            return False
    return True


def _sides(change: TensorChange, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, str]]:
    """Other tensors of the same module that have as many lines one way, and which way."""
    module = _module(change.name)
    for name, shape in shapes.items():
        if name == change.name or _module(name) != module:
            continue
        rows, columns = math.prod(shape[:-1]), shape[-1] * math.prod(shape[:-2])
        ways = [way for way, size in (("row", rows), ("col", columns)) if size == change.size]
        if len(shape) == 1:
            ways = ["row"] if shape[0] == change.size else []
        if len(ways) == 1:
            yield name, ways[0]


def _module(name: str) -> str:
    return name.rsplit(".", 2)[0]


def _of_expert(change: TensorChange, shape: Sequence[int]) -> int:
    """How many rows (columns) an expert has in a tensor of all of them; 0 elsewhere."""
    if len(shape) != 3 or "expert" not in change.name:
        return 0
    return shape[1] if change.way == "row" else shape[2]


def _stated(config: Mapping[str, Any], names: Sequence[str]) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0
