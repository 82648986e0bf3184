"""Weights against weights: tensors that are gone, moved, zeroed, rescaled, permuted or rounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refutable.evidence.release import Release
from refutable.gate.changed import Model, described
from refutable.gate.facts import Fact, block_of, listed
from refutable.gate.folded import Group, rescaled_against
from refutable.gate.tensors import compare_tensor

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
    activation = str(_activation(base.facts["config"]))
    groups = rescaled_against(rest, base.weights, candidate.weights, activation)
    facts += _folded(groups)
    grouped = {name for group in groups for name in group.names}
    changes = [
        compare_tensor(name, (old[name], base.weights), (new[name], candidate.weights))
        for name in rest
        if name not in grouped
    ]
    model = Model(
        base.facts["config"],
        {name: entry["shape"] for name, entry in old.items()},
        len({old[name]["digest"] for name in old if name in new}),
        len({b for name in old if (b := block_of(name)) is not None}),
    )
    return [*facts, *described(changes, model)]


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


def _activation(config: Mapping[str, Any]) -> str | None:
    named = (
        config.get(name) for name in ("hidden_act", "activation_function", "hidden_activation")
    )
    return next((name for name in named if name), None)


def _folded(groups: Sequence[Group]) -> Iterator[Fact]:
    """Tell once of tensors that were rescaled against each other, those by a gain apart."""
    for by_gain in (True, False):
        names = [name for group in groups if group.by_gain == by_gain for name in group.names]
        if names:
            blocks = tuple(sorted({b for name in names if (b := block_of(name)) is not None}))
            text = f"{listed(names, 2)} rescaled against each other, line by line"
            yield Fact(
                "weights", text, True, 20, blocks,
                folds=by_gain, undoes=not by_gain, tensors=len(names),
            )  # fmt: skip
