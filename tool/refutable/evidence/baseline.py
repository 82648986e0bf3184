"""The accepted findings of a suite: verdicts and the numbers behind them; load, compare, update.

A recorded refutation is a green, informative result; its confirmation then fails, as a strict
xpass does. Recorded numbers show what a verdict hides: an estimate may move a long way within one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refutable.errors import EvidenceError, one_line
from refutable.evidence.drift import Recorded, drift, record_of
from refutable.records import Result, Verdict
from refutable.system import files

if TYPE_CHECKING:
    from refutable.system.typing import Json

SCHEMA = "refutable.baseline/2"
EARLIER = "refutable.baseline/1"
"""Of files that hold verdicts alone."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What a verdict is recorded under."""

    claim: str
    model: str
    prompts: str
    arm: str


def cell_of(result: Result) -> Cell:
    """Return the cell that a result belongs to."""
    return Cell(result.claim, result.model, result.prompts, result.arm)


def load(path: Path) -> dict[Cell, Recorded]:
    """Read what is recorded; a file that does not exist holds nothing.

    Raises
    ------
    EvidenceError
        If the file is not a baseline.
    """
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text("utf-8"))
        if raw["schema"] not in (SCHEMA, EARLIER):
            raise EvidenceError(f"its schema is {raw['schema']!r}, expected {SCHEMA!r}")
        return dict(_restored(row) for row in raw["verdicts"])
    except (OSError, ValueError, KeyError, TypeError, EvidenceError) as problem:
        raise EvidenceError(
            f"cannot read baseline {path.name} ({one_line(problem)}): restore it, or delete it and "
            "record the verdicts anew with --claim-update-baseline"
        ) from None


def _restored(row: Mapping[str, Any]) -> tuple[Cell, Recorded]:
    cell = Cell(row["claim"], row["model"], row["prompts"], row["arm"])
    numbers = {name: row.get(name) for name in ("value", "low", "high", "n")}
    for name, number in numbers.items():
        if not (number is None or isinstance(number, int | float)):
            raise TypeError(f"{name} of {cell.claim} on {cell.model} is no number")
    return cell, Recorded(Verdict(row["verdict"]), **numbers, error=float(row.get("error", 0.0)))


def update(path: Path, results: Iterable[Result]) -> int:
    """Record the findings of a run; cells that the run did not touch stay as they are.

    Numbers that agree with the recorded ones stay too, so that a second run changes no file.

    Returns
    -------
    int
        How many cells were added or changed.
    """
    known: Mapping[Cell, Recorded] = load(path)
    merged = dict(known)
    for result in results:
        if result.verdict is None:
            continue
        cell, measured = cell_of(result), record_of(result.verdict, result.estimate)
        if not _agrees(measured, known.get(cell)):
            merged[cell] = measured
    # A line for each cell, so that a difference between two files can be read.
    rows = ",\n".join(json.dumps(_row(cell, merged[cell])) for cell in sorted(merged))
    files.write(path, f'{{"schema": "{SCHEMA}", "verdicts": [\n{rows}\n]}}\n')
    return sum(known.get(cell) != measured for cell, measured in merged.items())


def _agrees(measured: Recorded, before: Recorded | None) -> bool:
    if before is None or before.n is None or before.verdict is not measured.verdict:
        return False
    return not drift(measured, before)


def _row(cell: Cell, recorded: Recorded) -> dict[str, Json]:
    numbers = {name: item for name, item in asdict(recorded).items() if item is not None}
    # Nine digits are more than any platform repeats.
    short = {k: float(f"{x:.9g}") if isinstance(x, float) else x for k, x in numbers.items()}
    return {**asdict(cell), **short}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a finding stands to the recorded one."""

    passes: bool
    moved: bool
    """A move to or from INCONCLUSIVE, or of the estimate: worth a warning, not a failure."""
    message: str


def compare(
    measured: Recorded,
    recorded: Recorded | None,
    *,
    strict: bool = False,
    anew: bool = False,
    unrecorded_passes: bool = False,
) -> Comparison:
    """Hold a finding against the recorded one.

    Parameters
    ----------
    measured : Recorded
        What this run found.
    recorded : Recorded or None
        What the baseline holds.
    strict : bool
        Whether INCONCLUSIVE fails, and an estimate that left the recorded one.
    anew : bool
        Whether the run timed or trained something itself; see `drift`.
    unrecorded_passes : bool
        Whether a refutation that nobody has recorded is a finding and no failure.

    Returns
    -------
    Comparison
    """
    verdict = measured.verdict
    if strict and verdict is Verdict.INCONCLUSIVE:
        return Comparison(False, False, "inconclusive, which --claim-strict does not accept")
    if recorded is None:
        if verdict is Verdict.REFUTED:
            return Comparison(
                unrecorded_passes,
                False,
                "refuted, and no verdict is recorded: if this is the finding, record it with "
                "--claim-update-baseline (of `refutable verify`: --update-baseline)",
            )
        return Comparison(True, False, "")
    if verdict is recorded.verdict:
        moved = drift(measured, recorded, anew=anew)
        return Comparison(not (moved and strict), bool(moved), moved)
    change = f"{verdict} where the baseline records {recorded.verdict}"
    if Verdict.INCONCLUSIVE in (verdict, recorded.verdict):
        return Comparison(True, True, change)
    return Comparison(False, False, f"{change}: a finding has turned round")
