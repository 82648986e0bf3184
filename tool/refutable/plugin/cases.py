"""The cells that pytest's items are about, how items are ordered, and what is kept with one."""

from __future__ import annotations

import re

import pytest

from refutable.evaluation.outcome import CellOutcome
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim

OUTCOME = pytest.StashKey[CellOutcome]()
"""Under which an item keeps what was found for it until its report is made."""

MESSAGE = pytest.StashKey[str]()
"""Under which an item keeps what the comparison with the recorded verdict said."""


LOADED = "model="
"""Begins the parametrization id of an ordinary test that asks for a loaded model; it ends the
node id."""

_CELL = re.compile(r"\[([^\[\]@]+)@[^\[\]@]+@(?:no-)?bos\]$")
_LOADED = re.compile(rf"[\[-]{LOADED}([^\[\]]+)\]$")


def cell_of(item: pytest.Item) -> Cell | None:
    """Return the cell an item is about, or ``None`` for an ordinary test."""
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("claim_case") if callspec is not None else None
    return cell if isinstance(cell, Cell) else None


def claim_of(item: pytest.Item) -> Claim | None:
    """Return the claim an item carries, or ``None`` for an ordinary test."""
    decorated = getattr(getattr(item, "function", None), "__claim__", None)
    return decorated if isinstance(decorated, Claim) else None


def sort_model_by_model(items: list[pytest.Item]) -> None:
    """Order claim items model by model, claims over several models last; others stay in place."""
    cells = {place: cell for place, item in enumerate(items) if (cell := cell_of(item)) is not None}
    order: dict[str, int] = {}
    for cell in cells.values():
        order.setdefault(cell.model, len(order))

    def rank(place: int) -> tuple[bool, int]:
        return cells[place].grouped, order[cells[place].model]

    ordered = [items[place] for place in sorted(cells, key=rank)]
    for place, item in zip(cells, ordered, strict=True):
        items[place] = item


def is_cell(nodeid: str) -> bool:
    """Whether a node id is that of a claim in a cell."""
    return _CELL.search(nodeid) is not None


def scope_of(nodeid: str) -> str:
    """Return what keeps items together on one xdist worker: the model; else the item itself."""
    match = _CELL.search(nodeid) or _LOADED.search(nodeid)
    return f"model {match.group(1)}" if match else nodeid
