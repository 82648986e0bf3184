"""Whether the report in a folder still says what a run found, so that it need not be made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from refutable.records import Evidence

VOLATILE = {
    "environment": ("command", "started", "seconds"),
    "models": ("origin", "seconds"),
    "results": ("source", "seconds"),
}
"""Fields of the evidence that may differ between two runs of the same claims on the same models:
when, how long, with which command line, and whether observations came live or from the store.
``docs/evidence.md`` states them for readers."""

_MARK = ".report"
_PARTS = ("report.html", "report.md", "observations.csv")


def without_volatile(evidence: Evidence) -> dict[str, object]:
    """Return the evidence as plain data without the fields that differ between equal runs."""
    plain = dataclasses.asdict(evidence)
    for part, names in VOLATILE.items():
        records = [plain[part]] if part == "environment" else plain[part]
        for record in records:
            for name in names:
                record.pop(name)
    return plain


def is_current(evidence: Evidence, folder: Path) -> bool:
    """Whether the folder holds the report of evidence that says the same, made by this code."""
    mark = folder / _MARK
    whole = all((folder / name).is_file() for name in _PARTS)
    return whole and mark.is_file() and mark.read_text() == _digest(evidence, folder)


def mark(evidence: Evidence, folder: Path) -> None:
    """Note that the folder's report is that of this evidence."""
    partial = folder / f"{_MARK}.part"
    partial.write_text(_digest(evidence, folder))
    os.replace(partial, folder / _MARK)


def _digest(evidence: Evidence, folder: Path) -> str:
    found = hashlib.sha256(json.dumps(without_volatile(evidence), default=str).encode())
    found.update((folder / "observations.parquet").read_bytes())
    here = Path(__file__).parent
    for path in sorted(here.rglob("*")):
        if path.suffix in (".py", ".j2", ".css", ".js"):
            found.update(path.read_bytes())
    return found.hexdigest()
