"""The accepted verdicts of a suite: load, compare, update.

A recorded refutation is a green, informative result; its confirmation then fails, as a strict
xpass does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from refutable.errors import EvidenceError
from refutable.records import Result, Verdict
from refutable.system import files

SCHEMA = "refutable.baseline/1"


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


def load(path: Path) -> dict[Cell, Verdict]:
    """Read recorded verdicts; a file that does not exist holds none.

    Raises
    ------
    EvidenceError
        If the file is not a baseline.
    """
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text("utf-8"))
        if raw["schema"] != SCHEMA:
            raise EvidenceError(f"{path.name} has schema {raw['schema']!r}, expected {SCHEMA!r}")
        return {
            Cell(row["claim"], row["model"], row["prompts"], row["arm"]): Verdict(row["verdict"])
            for row in raw["verdicts"]
        }
    except (OSError, ValueError, KeyError, TypeError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise EvidenceError(
            f"cannot read baseline {path.name} ({reason}): restore it, or delete it and record "
            "the verdicts anew with --claim-update-baseline"
        ) from None


def update(path: Path, results: Iterable[Result]) -> int:
    """Record the verdicts of a run; cells that the run did not touch stay as they are.

    Returns
    -------
    int
        How many cells were added or changed.
    """
    known: Mapping[Cell, Verdict] = load(path)
    merged = dict(known)
    for result in results:
        if result.verdict is not None:
            merged[cell_of(result)] = result.verdict
    rows = [
        {
            "claim": cell.claim,
            "model": cell.model,
            "prompts": cell.prompts,
            "arm": cell.arm,
            "verdict": str(verdict),
        }
        for cell, verdict in sorted(merged.items())
    ]
    files.write(path, json.dumps({"schema": SCHEMA, "verdicts": rows}, indent=1) + "\n")
    return sum(known.get(cell) != verdict for cell, verdict in merged.items())


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a verdict stands to the recorded one."""

    passes: bool
    moved: bool
    """A move to or from INCONCLUSIVE: worth a warning, not a failure."""
    message: str


def compare(verdict: Verdict, expected: Verdict | None, *, strict: bool = False) -> Comparison:
    """Hold a verdict against the recorded one.

    Parameters
    ----------
    verdict : Verdict
        What this run decided.
    expected : Verdict or None
        What the baseline records.
    strict : bool
        Whether INCONCLUSIVE fails where it is not recorded.

    Returns
    -------
    Comparison
    """
    if strict and verdict is Verdict.INCONCLUSIVE:
        return Comparison(False, False, "inconclusive, which --claim-strict does not accept")
    if expected is None:
        if verdict is Verdict.REFUTED:
            return Comparison(
                False,
                False,
                "refuted, and no verdict is recorded: if this is the finding, record it with "
                "--claim-update-baseline (of `refutable verify`: --update-baseline)",
            )
        return Comparison(True, False, "")
    if verdict is expected:
        return Comparison(True, False, "")
    change = f"{verdict} where the baseline records {expected}"
    if Verdict.INCONCLUSIVE in (verdict, expected):
        return Comparison(True, True, change)
    return Comparison(False, False, f"{change}: a finding has turned round")
