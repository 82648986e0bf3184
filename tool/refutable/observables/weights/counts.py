"""How many parameters there are, of what category, and which are counted twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.models.weights.files import chunks
from refutable.models.weights.roles import CATEGORIES

if TYPE_CHECKING:
    from refutable.models.weights.reading import WeightReader
    from refutable.models.weights.roles import Layout


@dataclass(frozen=True, slots=True)
class Counts:
    """Parameters of a config; no weights are needed."""

    unique: int
    """Every parameter once."""
    named: int
    """Every name once: a tied tensor counts as often as it has names. GPT-2's 163,037,184."""
    by_category: Mapping[str, int]
    """Unique parameters by category (see `roles.CATEGORIES`)."""
    by_block: tuple[Mapping[str, int], ...]
    """The same for each block."""
    tied: tuple[tuple[str, ...], ...]
    """Names that share one tensor."""


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """Parameters as the checkpoint stores them."""

    stored: int
    """Elements in the file that belong to parameters (mask buffers aside)."""
    bytes: int
    twice: tuple[tuple[str, str], ...]
    """Tied pairs that the file holds twice."""
    unequal: tuple[tuple[str, str], ...]
    """Of these, pairs whose values differ although the config ties them."""


def count(layout: Layout) -> Counts:
    """Count the parameters of a layout.

    Parameters
    ----------
    layout : Layout
        Roles of the parameters, from a config alone.
    """
    total = dict.fromkeys(CATEGORIES, 0)
    blocks = [dict.fromkeys(CATEGORIES, 0) for _ in range(layout.blocks)]
    for parameter in layout.parameters:
        total[parameter.category] += parameter.size
        if parameter.layer is not None:
            blocks[parameter.layer][parameter.category] += parameter.size
    return Counts(
        unique=sum(p.size for p in layout.parameters),
        named=sum(p.size * (1 + len(p.aliases)) for p in layout.parameters),
        by_category=total,
        by_block=tuple(blocks),
        tied=tuple((p.name, *p.aliases) for p in layout.tied),
    )


def count_stored(reader: WeightReader) -> StoredCounts:
    """Count what a checkpoint holds, and compare tied tensors that it holds twice."""
    layout = reader.layout
    prefix = layout.prefix
    stored_as: dict[str, str] = {}
    for parameter in layout.parameters:
        for name in (parameter.name, *parameter.aliases):
            for candidate in (name, name.removeprefix(prefix), prefix + name):
                if candidate in reader.stored:
                    stored_as[name] = candidate
                    break
    twice = tuple(
        (stored_as[p.name], stored_as[alias])
        for p in layout.tied
        if p.name in stored_as
        for alias in p.aliases
        if alias in stored_as
    )
    sizes = [reader.stored[name] for name in set(stored_as.values())]
    return StoredCounts(
        stored=sum(s.size for s in sizes),
        bytes=sum(s.bytes for s in sizes),
        twice=twice,
        unequal=tuple(pair for pair in twice if not _equal(reader, *pair)),
    )


def _equal(reader: WeightReader, first: str, second: str) -> bool:
    pieces = zip(chunks(reader.tensors, first), chunks(reader.tensors, second), strict=True)
    return all(np.array_equal(a, b) for a, b in pieces)
