"""Tensors whose values are others, in words: which lines and blocks, and whether suspect."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refutable.gate.facts import Fact, block_of, reads_text, spans
from refutable.gate.lines import are_mates, are_whole, head_lines, named_lines
from refutable.gate.tensors import TensorChange

_STICKS_OUT = 3.0
"""Times the median change of what was rounded by which a tensor is told by itself."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the model that tensors belong to."""

    config: Mapping[str, Any]
    shapes: Mapping[str, Sequence[int]]
    """Of every tensor, by name."""
    tensors: int
    """How many different ones there are."""
    blocks: int


def described(changes: Sequence[TensorChange], model: Model) -> list[Fact]:
    """Say what became of tensors that kept their places and shapes, one line for each kind."""
    alone = _alone(changes, model)
    single = [c for c in changes if c.what not in ("values", "pruned", "part")]
    single += [c for c in alone if c.what != "values"]
    mates = are_mates(single, model.shapes, model.config)
    facts = _grouped([_one(change, model, change.name in mates) for change in single])
    local = [c for c in alone if c.what == "values"]
    told = {c.name for c in (*single, *local)}
    for plain, suspect in ((local, True), ([c for c in changes if c.name not in told], False)):
        if plain:
            facts.append(_everywhere(plain, model.tensors, suspect))
    return facts


def _alone(changes: Sequence[TensorChange], model: Model) -> list[TensorChange]:
    """Few tensors in few blocks that changed by more than rounding, all others not.

    Rounding to few values leaves fewer different ones in a row, rounding to 16 bits values that
    such a type holds; where everything was rounded, what changed by far more sticks out.
    """
    rounded = [c.change for c in changes if c.what == "values" and not _is_unlike(c)]
    least = _STICKS_OUT * float(np.median(rounded)) if rounded else 0.0
    others = [c for c in changes if _is_unlike(c) and (c.zeros or c.change > least)]
    rest = [c for c in changes if c.what not in ("values", "pruned", "part")]
    met = {b for c in (*others, *rest) if (b := block_of(c.name)) is not None}
    few = 2 * len([*others, *rest]) < model.tensors and 2 * len(met) <= model.blocks
    return others if few else []


def _is_unlike(change: TensorChange) -> bool:
    """Whether the difference is no rounding."""
    unlike = bool(change.zeros) or change.change > change.finest
    return change.what in ("values", "pruned", "part") and unlike


def _one(change: TensorChange, model: Model, mated: bool) -> Fact:
    block = block_of(change.name)
    blocks = () if block is None else (block,)
    where = f" (block {block})" if block is not None else ""
    shape = model.shapes[change.name]
    named = f"{named_lines(change, model.config, shape)}{change.name}"
    seen = reads_text(change.name)
    whole = change.change if seen and not change.lines else None
    if change.what == "rescaled":
        text = f"{named} rescaled by {change.scale:.6g}{where}"
        scale = change.scale if seen else None
        return Fact("weights", text, True, 20, blocks, scale=scale, whole=whole)
    if change.what == "constant":
        text = f"{change.name} holds {change.scale:.6g} throughout{where}"
        return Fact("weights", text, True, 18, blocks, whole=whole)
    if change.what == "copied":
        origin = f"{_word(change)} {spans(list(change.sources))}"
        text = f"{named} holds {origin} of the base{where}"
        return Fact("weights", text, True, 14, blocks)
    if change.what == "permuted":
        text = f"{named} {'swapped' if len(change.lines) == 2 else 'permuted'}{where}"
        inside = block is not None or change.way == "col" or len(shape) == 1
        return Fact("weights", text, True, 24, blocks, permutes=seen and mated and inside)
    if change.what == "pruned":
        text = f"{named} pruned: {change.zeros} of {math.prod(shape)} weights set to 0{where}"
        return Fact("weights", text, True, 21, blocks)
    if change.what == "part":
        text = f"{named} changed (relative change {change.change:.2g}){where}"
        size = head_lines(change, model.config)
        turned = change.change if seen and size and are_whole(change.lines, size) else None
        return Fact("weights", text, True, 26, blocks, whole=turned, partly=True)
    return Fact("weights", f"{named} {change.what}{where}", True, 16, blocks)


def _word(change: TensorChange) -> str:
    return {"row": "row", "col": "column"}[change.way] + ("s" if len(change.sources) > 1 else "")


def _grouped(facts: Sequence[Fact]) -> list[Fact]:
    """Tell like differences of many tensors once."""
    if len(facts) <= 4:
        return list(facts)
    groups: dict[tuple[str, int], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.text.split("(")[0].split()[-1], fact.rank].append(fact)
    return [fact for group in groups.values() for fact in _told_once(group)]


def _told_once(group: Sequence[Fact]) -> Sequence[Fact]:
    if len(group) < 3:
        return group
    blocks = tuple(sorted({b for fact in group for b in fact.blocks}))
    first = group[0]
    where = f", in blocks {spans(list(blocks))}" if len(blocks) > 1 else ""
    text = f"{first.text} and {len(group) - 1} more like it{where}"
    return [
        Fact(
            "weights", text, first.suspect, first.rank, blocks,
            permutes=all(f.permutes for f in group), scale=first.scale, tensors=len(group),
        )
    ]  # fmt: skip


def _everywhere(changes: Sequence[TensorChange], whole: int, local: bool) -> Fact:
    """Tell of tensors whose values are others throughout."""
    blocks = tuple(sorted({b for c in changes if (b := block_of(c.name)) is not None}))
    largest = max(changes, key=lambda c: c.change)
    mean = math.sqrt(sum(c.change**2 for c in changes) / len(changes))
    levels = [c.levels for c in changes if c.levels]
    bits = math.ceil(math.log2(max(levels))) if len(levels) * 2 > len(changes) and levels else 0
    how = f"rounded to {bits} bits a row" if bits else "differ"
    if 2 * sum(c.what == "pruned" for c in changes) > len(changes):
        how = "pruned"
    place = f"{len(changes)} of {whole} tensors"
    if len(changes) == 1:
        place, how = largest.name, "differs" if how == "differ" else how
    elif local and blocks and len(blocks) <= 2:
        place = f"weights of block {spans(list(blocks))} ({len(changes)} tensors)"
    text = f"{place} {how}: relative change {mean:.2g}"
    if len(changes) > 1:
        text += f", {largest.change:.2g} at most ({largest.name})"
    rank = 22 if local else 40 if bits and bits < 8 else 60
    seen = all(c.what == "values" and reads_text(c.name) for c in changes)
    replaced = largest.change if seen else None
    return Fact("weights", text, local, rank, blocks, whole=replaced, tensors=len(changes))
