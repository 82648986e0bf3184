"""Whether the report in a folder still says what a run found, so that it need not be made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import metadata
from pathlib import Path

from refutable.records import Evidence
from refutable.system import files
from refutable.system.discovery import part_folders
from refutable.system.paths import fixtures

VOLATILE = {
    "environment": ("command", "started", "seconds"),
    "models": ("origin", "seconds", "costs"),
    "results": ("source", "seconds"),
}
"""Fields of the evidence that may differ between two runs of the same claims on the same models:
when, how long, with which command line, and whether observations came live or from the store.
``docs/evidence.md`` states them for readers."""

_MARK = ".report"
_PARTS = ("report.html", "report.md", "observations.csv")
_LIBRARIES = ("jinja2", "matplotlib", "pandas")
"""What draws and lays out beside the code of this package; the evidence names other versions."""


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
    """Whether the folder holds the report of evidence that says the same, made by this code.

    A report of other evidence, one that was only partly written and one that was changed or lost a
    figure since are not.
    """
    mark = folder / _MARK
    whole = all((folder / name).is_file() for name in _PARTS)
    return whole and mark.is_file() and mark.read_text() == _digest(evidence, folder)


def mark(evidence: Evidence, folder: Path) -> None:
    """Note that the folder's report is that of this evidence."""
    files.write(folder / _MARK, _digest(evidence, folder))


def _digest(evidence: Evidence, folder: Path) -> str:
    """Hash what the report says, what made it, and the report as it lies there."""
    # Whether a number was measured or taken from the committed file is no matter of the day.
    committed = [one.source == "committed" for one in evidence.results]
    replayed = [one.origin == "committed" for one in evidence.models]
    versions = [metadata.version(name) for name in _LIBRARIES]
    said = (without_volatile(evidence), committed, replayed, versions)
    digest = hashlib.sha256(json.dumps(said, default=str).encode())
    for path in (folder / "observations.parquet", *_code(), *_report(folder)):
        digest.update(f"\n{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _code() -> list[Path]:
    """Files of the package that decide how a report looks, and the published numbers it shows."""
    package = Path(__file__).parents[1]
    kinds = (".py", ".j2", ".css", ".js")
    folders = (package / "report", package / "evidence", *part_folders("figures"))
    paths = sorted(path for base in folders for path in base.rglob("*") if path.suffix in kinds)
    other = [package / "records.py", package / "spec" / "references.py"]
    return [*paths, *other, fixtures() / "references.toml"]


def _report(folder: Path) -> list[Path]:
    beside = sorted([*(folder / "figures").glob("*"), *(folder / "report").glob("*.html")])
    return [path for path in (*(folder / name for name in _PARTS), *beside) if path.is_file()]
