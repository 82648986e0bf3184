"""The first screen of the page: every claim as a mark, and what to read first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from refutable.records import How, Reading, Result
from refutable.report import tables
from refutable.report.cells import Cell
from refutable.report.findings import FINDINGS, findings, head
from refutable.report.text import listed

FIRST = 8
"""Most lines of what to read first."""
MOVED = "not as recorded"


@dataclass(frozen=True, slots=True)
class Mark:
    """One cell of the compact matrix."""

    anchor: str
    state: str
    symbol: str
    title: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """What a study was tried on, and a mark for each of its claims; ``None`` for no cell."""

    model: str
    details: str
    marks: tuple[Mark | None, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """The compact matrix of a study: claims beside each other, models below each other."""

    study: str
    anchor: str
    refs: tuple[tuple[str, int], ...]
    """Numbers of the study's claims, each with how many columns it heads."""
    lines: tuple[Line, ...]
    counts: str
    """What its claims come to, in words."""


@dataclass(frozen=True, slots=True)
class Lead:
    """One thing to read first."""

    why: str
    state: str
    anchor: str
    statement: str
    where: str
    value: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What the page can be filtered by."""

    studies: tuple[str, ...]
    states: tuple[str, ...]
    readings: tuple[str, ...]
    models: tuple[str, ...]


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Count findings by what they come to, in the order of `FINDINGS`; a claim counts once."""
    states = [finding.state for finding in findings(results)]
    return {name: states.count(name) for name in FINDINGS if name in states}


def worded(counts: dict[str, int]) -> str:
    """Word counts of findings, e.g. ``3 confirmed, 2 n/a``."""
    return ", ".join(f"{n} {head(name)}" for name, n in counts.items())


def block(
    study: str,
    anchor: str,
    heads: Sequence[tuple[str, str]],
    claims: Sequence[tuple[str, Sequence[Cell | None]]],
) -> Block:
    """Lay out a study as lines of marks.

    Parameters
    ----------
    study, anchor : str
        Its name, and the fragment of its section.
    heads : sequence of (str, str)
        Model and details of each column of its matrix.
    claims : sequence of (str, sequence of Cell)
        Number in the study and cells of each claim, a cell for each column.
    """
    lines = []
    for place, (model, details) in enumerate(heads):
        marks = tuple(_mark(ref, cells[place]) for ref, cells in claims)
        if any(mark is not None for mark in marks):
            lines.append(Line(model, details, marks))
    refs = tuple((ref, len(list(same))) for ref, same in groupby(ref for ref, _ in claims))
    results = [c.result for _, cells in claims for c in cells if c is not None]
    return Block(study, anchor, refs, tuple(lines), worded(counts(results)))


def _mark(ref: str, cell: Cell | None) -> Mark | None:
    if cell is None or cell.state == "skipped":
        return None
    value = " ".join(part for part in (cell.value, cell.ends) if part and part != "–")
    title = f"{ref} {cell.claim.id}: {cell.word} {value}".rstrip()
    return Mark(cell.anchor, cell.state, tables.SYMBOLS[cell.state], title, cell.changed)


def leads(cells: Sequence[Cell]) -> tuple[Lead, ...]:
    """Choose what to read first.

    Parameters
    ----------
    cells : sequence of Cell
        All cells that hold a result.

    Returns
    -------
    tuple of Lead
        At most `FIRST`: what is not as recorded; claims that hold of one model and not of another;
        then refutations that show the opposite, the largest first (in units of the smallest effect
        of interest). A claim is named once.
    """
    led = [_lead(MOVED, cell, cell.baseline) for cell in cells if cell.changed]
    states: dict[str, set[str]] = {}
    for cell in cells:
        states.setdefault(cell.claim.id, set()).add(cell.state)
    split = [cell for cell in cells if {"confirmed", "refuted"} <= states[cell.claim.id]]
    for _, of_claim in groupby(split, key=lambda cell: cell.claim.id):
        both = list(of_claim)
        holds = listed(_where(c.result) for c in both if c.state == "confirmed")
        first = next(c for c in both if c.state == "refuted")
        led.append(_lead("differs between models", first, f"refuted here, confirmed on {holds}"))
    opposite = [cell for cell in cells if cell.result.how is How.OPPOSITE]
    opposite.sort(key=_size, reverse=True)
    led += [_lead("refuted: the opposite holds", cell, "") for cell in opposite]
    once: dict[str, Lead] = {}
    for cell_lead, claim in led:
        once.setdefault(claim, cell_lead)
    return tuple(once.values())[:FIRST]


def _lead(why: str, cell: Cell, note: str) -> tuple[Lead, str]:
    result = cell.result
    unit = f" {cell.claim.unit}" if cell.claim.unit else ""
    shown = f"{cell.value} {cell.ends}".strip() + unit if result.estimate is not None else ""
    value = "; ".join(part for part in (shown, _control(result), note) if part)
    lead = Lead(why, cell.state, cell.anchor, cell.claim.statement, _where(result), value)
    return lead, cell.claim.id


def _where(result: Result) -> str:
    return f"{result.model}, {result.arm}" if result.arm == "bos" else result.model


def _control(result: Result) -> str:
    reading = result.control.reading if result.control is not None else None
    if reading is Reading.INFORMATIVE:
        return "untrained or shuffled controls do not show it"
    return "its control shows as much" if reading is Reading.UNINFORMATIVE else ""


def _size(cell: Cell) -> float:
    estimate, least = cell.result.estimate, cell.claim.sesoi
    if estimate is None or estimate.value is None or not least:
        return 0.0
    return abs(estimate.value) / least


def choices(studies: Iterable[str], cells: Iterable[Cell]) -> Choices:
    """Gather what the page can be filtered by."""
    shown = list(cells)
    states = {cell.state for cell in shown}
    readings = {cell.reading[1] for cell in shown if cell.reading is not None}
    return Choices(
        tuple(studies),
        tuple(state for state in tables.STATES if state in states and state != "skipped"),
        tuple(str(reading) for reading in Reading if str(reading) in readings),
        tuple(sorted({cell.result.model for cell in shown})),
    )
