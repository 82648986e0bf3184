"""Weights against weights: tensors that are gone, moved, zeroed, rescaled, permuted or rounded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refutable.evidence.release import Release
from refutable.gate.facts import Fact, block_of, listed, reads_text, spans
from refutable.gate.folded import rescaled_against
from refutable.gate.tensors import COARSE, FINE, TensorChange, compare_tensor

Known = Mapping[str, Mapping[str, Any]]


def weight_facts(base: Release, candidate: Release) -> list[Fact]:
    """Say how the weights of two releases differ, one line for each difference.

    Parameters
    ----------
    base, candidate : Release
        What two runs kept of the tensors, under the names that the model class gives them.

    Returns
    -------
    list of Fact
        Empty where every tensor has the same values. Suspect are tensors that are missing, of
        another shape, moved, duplicated, zeroed, rescaled by one number, permuted, or changed in
        one place alone by more than rounding; a change everywhere is told and is not.
    """
    old = {t["name"]: t for t in base.facts["tensors"]}
    new = {t["name"]: t for t in candidate.facts["tensors"]}
    facts = list(_shapes(old, new))
    differing = [
        name
        for name in old
        if name in new
        and old[name]["shape"] == new[name]["shape"]
        and old[name]["digest"] != new[name]["digest"]
    ]
    facts += _not_finite(differing, old, new)
    moved, rest = _moved(differing, old, new)
    facts += moved
    rest = _untied(rest, old, new)
    groups = rescaled_against(rest, base.weights, candidate.weights)
    facts += _folded(groups)
    grouped = {name for group in groups for name in group}
    changes = [
        compare_tensor(name, (old[name], base.weights), (new[name], candidate.weights))
        for name in rest
        if name not in grouped
    ]
    whole = len({old[name]["digest"] for name in old if name in new})
    blocks = {b for name in old if (b := block_of(name)) is not None}
    local = _is_local(changes, whole, len(blocks))
    facts += _described(changes, whole, local, base.facts["config"])
    return facts


def _shapes(old: Known, new: Known) -> Iterator[Fact]:
    for word, names in (
        ("lacks", [n for n in old if n not in new]),
        ("has besides", [n for n in new if n not in old]),
    ):
        if names:
            yield Fact("weights", f"the candidate {word} {listed(names)}", True, rank=5)
    for name in old:
        if name in new and old[name]["shape"] != new[name]["shape"]:
            shapes = (old[name]["shape"], new[name]["shape"])
            yield Fact("weights", f"{name} has shape {shapes[1]}, had {shapes[0]}", True, rank=5)


def _not_finite(names: Sequence[str], old: Known, new: Known) -> list[Fact]:
    bad = [n for n in names if old[n]["finite"] and not new[n]["finite"]]
    return [Fact("weights", f"{listed(bad)} holds NaN or infinity", True, rank=4)] if bad else []


def _untied(names: Sequence[str], old: Known, new: Known) -> list[str]:
    """Of parameters that share their values in both releases keep one name."""
    met: set[tuple[str, str]] = set()
    kept = []
    for name in sorted(names, key=lambda n: ("embed" not in n, n)):
        key = (old[name]["digest"], new[name]["digest"])
        if key not in met:
            met.add(key)
            kept.append(name)
    return kept


# -- tensors in another place --------------------------------------------------------------------


def _moved(names: Sequence[str], old: Known, new: Known) -> tuple[list[Fact], list[str]]:
    """Find tensors that hold what another one held."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name, entry in old.items():
        # A tensor of zeros or ones lies everywhere and says nothing of a move.
        if entry["norm"] > 0 and entry["levels"][0] > 1:
            owners[entry["digest"]].append(name)
    source = {n: _origin(n, owners.get(new[n]["digest"], [])) for n in names}
    origins = {n: s for n, s in source.items() if s}
    facts, told = _whole_blocks(origins, old)
    held = {new[n]["digest"] for n in new}
    for name, origin in origins.items():
        if name in told:
            continue
        blocks = tuple(b for b in (block_of(name), block_of(origin)) if b is not None)
        if origins.get(origin) == name:
            if name < origin:
                facts.append(Fact("weights", f"{name} and {origin} swapped", True, 10, blocks))
            continue
        how = "duplicates" if old[origin]["digest"] in held and origin not in origins else "holds"
        facts.append(Fact("weights", f"{name} {how} {origin} of the base", True, 12, blocks))
    return facts, [n for n in names if n not in origins]


def _origin(name: str, owners: Sequence[str]) -> str:
    """Return the one of the base's tensors that is most likely meant: of the same part."""
    if not owners:
        return ""
    part = _part(name)
    return min(owners, key=lambda other: (_part(other) != part, other))


def _part(name: str) -> str:
    """Name of a parameter without its block's number."""
    block = block_of(name)
    return name if block is None else name.replace(f".{block}.", ".*.", 1)


def _whole_blocks(origins: Mapping[str, str], old: Known) -> tuple[list[Fact], set[str]]:
    """Say of blocks, most of whose tensors hold those of another one, which they hold now."""
    by_block: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, origin in origins.items():
        here, there = block_of(name), block_of(origin)
        if (
            here is not None
            and there is not None
            and here != there
            and _part(name) == _part(origin)
        ):
            by_block[here][there].append(name)
    sizes: dict[int, int] = defaultdict(int)
    for name in old:
        if (block := block_of(name)) is not None:
            sizes[block] += 1
    holds: dict[int, int] = {}
    told: set[str] = set()
    for here, sources in by_block.items():
        there, names = max(sources.items(), key=lambda item: len(item[1]))
        if len(names) * 2 > sizes[here]:
            holds[here] = there
            told.update(names)
    return list(_worded_blocks(holds)), told


def _worded_blocks(holds: Mapping[int, int]) -> Iterator[Fact]:
    for here, there in sorted(holds.items()):
        if holds.get(there) == here:
            if here < there:
                text = f"blocks {here} and {there} swapped"
                yield Fact("weights", text, True, 8, (here, there))
        elif there not in holds:
            text = f"block {here} duplicates block {there}"
            yield Fact("weights", text, True, 8, (here, there))
        else:
            text = f"block {here} holds block {there} of the base"
            yield Fact("weights", text, True, 9, (here, there))


def _folded(groups: Sequence[tuple[str, ...]]) -> Iterator[Fact]:
    """Tell once of tensors that were rescaled against each other."""
    if groups:
        names = [name for group in groups for name in group]
        blocks = tuple(sorted({b for name in names if (b := block_of(name)) is not None}))
        text = f"{listed(names, 2)} rescaled against each other, line by line"
        yield Fact("weights", text, True, 20, blocks, folds=True, tensors=len(names))


# -- tensors whose values changed ----------------------------------------------------------------


def _described(
    changes: Sequence[TensorChange], whole: int, local: bool, config: Mapping[str, Any]
) -> list[Fact]:
    facts: list[Fact] = []
    plain: list[TensorChange] = []
    for change in changes:
        if change.what == "values" or (change.what == "part" and not local):
            plain.append(change)
        else:
            facts.append(_one(change, config))
    facts = _grouped(facts)
    if plain:
        facts.append(_everywhere(plain, whole, local))
    return facts


def _is_local(changes: Sequence[TensorChange], whole: int, blocks: int) -> bool:
    """Whether few tensors in few blocks changed, by more than rounding, and all others did not.

    Rounding to few values leaves fewer different ones in a row; what leaves as many is no rounding
    if it is larger than that of bfloat16.
    """
    met = {b for c in changes if (b := block_of(c.name)) is not None}
    few = 0 < 2 * len(changes) < whole and 2 * len(met) <= blocks
    return few and any(c.change > (COARSE if c.rounded else FINE) for c in changes)


def _one(change: TensorChange, config: Mapping[str, Any]) -> Fact:
    block = block_of(change.name)
    blocks = () if block is None else (block,)
    where = f" (block {block})" if block is not None else ""
    inside = _lines(change, config)
    seen = reads_text(change.name)
    whole = change.change if seen and not change.lines else None
    if change.what == "rescaled":
        text = f"{inside}{change.name} rescaled by {change.scale:.6g}{where}"
        scale = change.scale if seen else None
        return Fact("weights", text, True, 20, blocks, scale=scale, whole=whole)
    if change.what == "constant":
        text = f"{change.name} holds {change.scale:.6g} throughout{where}"
        return Fact("weights", text, True, 18, blocks, whole=whole)
    if change.what == "copied":
        origin = f"{_word(change, change.sources)} {spans(list(change.sources))}"
        text = f"{inside}{change.name} holds {origin} of the base{where}"
        return Fact("weights", text, True, 14, blocks)
    if change.what == "permuted":
        both = len(change.lines) == 2
        text = f"{inside}{change.name} {'swapped' if both else 'permuted'}{where}"
        return Fact("weights", text, True, 24, blocks, permutes=seen and block is not None)
    if change.what == "part":
        text = f"{inside}{change.name} changed (relative change {change.change:.2g}){where}"
        return Fact("weights", text, True, 26, blocks)
    return Fact("weights", f"{inside}{change.name} {change.what}{where}", True, 16, blocks)


def _lines(change: TensorChange, config: Mapping[str, Any]) -> str:
    """Name the rows or columns that changed: as heads, where they are whole ones."""
    if not change.lines or change.way == "both":
        return ""
    size = _head_size(change, config)
    if size and _are_heads(change.lines, size):
        heads = sorted({i // size for i in change.lines})
        word = "head" if len(heads) == 1 else "heads"
        return f"{word} {spans(heads)} of "
    word = {"row": "rows", "col": "columns"}[change.way]
    return f"{len(change.lines)} of {change.size} {word} ({spans(list(change.lines))}) of "


def _word(change: TensorChange, lines: Sequence[int]) -> str:
    return {"row": "row", "col": "column"}[change.way] + ("s" if len(lines) > 1 else "")


def _head_size(change: TensorChange, config: Mapping[str, Any]) -> int:
    if not any(word in change.name.lower() for word in ("attn", "attention")):
        return 0
    stated = config.get("head_dim")
    if isinstance(stated, int) and stated > 0:
        return stated
    width, heads = (
        config.get("hidden_size") or config.get("n_embd"),
        config.get("num_attention_heads") or config.get("n_head"),
    )
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else 0


def _are_heads(lines: Sequence[int], size: int) -> bool:
    held = set(lines)
    return all(set(range(i // size * size, i // size * size + size)) <= held for i in held)


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
    place = f"{len(changes)} of {whole} tensors"
    if len(changes) == 1:
        place, how = largest.name, how if bits else "differs"
    elif local and blocks and len(blocks) <= 2:
        place = f"weights of block {spans(list(blocks))} ({len(changes)} tensors)"
    text = f"{place} {how}: relative change {mean:.2g}"
    if len(changes) > 1:
        text += f", {largest.change:.2g} at most ({largest.name})"
    rank = 22 if local else 40 if bits and bits < 8 else 60
    seen = all(c.what == "values" and reads_text(c.name) for c in changes)
    replaced = largest.change if seen else None
    return Fact("weights", text, local, rank, blocks, whole=replaced, tensors=len(changes))
