"""What claims said before they were measured: a file that is only ever appended to.

A line is one claim on one cell (model, prompts, arm): the hash of its source, its prediction,
smallest effect and prompts, with the date. A line that a run writes comes before its measurement;
what the first such line holds is what a claim was registered with, and later lines show what was
changed since.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refutable.evidence.baseline import Cell
from refutable.records import Registration

NAME = "registered.jsonl"
COMPARED = {
    "source": "the claim's source",
    "prediction": "the prediction",
    "region": "the region",
    "sesoi": "the smallest effect of interest",
    "prompt_hash": "the prompts",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the registry."""

    claim: str
    model: str
    prompts: str
    arm: str
    source: str
    """SHA-256 of the claim's function with its decorator, shortened."""
    prediction: str
    """The prediction in words, but for its region."""
    region: tuple[float | None, float | None]
    sesoi: float | None
    prompt_hash: str
    date: str = ""
    run: bool = False
    """Whether a run wrote it, just before it measured."""
    late: bool = False
    """Whether a verdict had been recorded before it was first registered."""

    @property
    def cell(self) -> Cell:
        """What it is about, as a baseline names it."""
        return Cell(self.claim, self.model, self.prompts, self.arm)

    def differs(self, other: Entry) -> tuple[str, ...]:
        """Name what two lines do not share."""
        return tuple(w for f, w in COMPARED.items() if getattr(self, f) != getattr(other, f))


@dataclass(slots=True)
class _History:
    """What the lines of one cell come to."""

    latest: Entry
    since: str
    """When the latest wording was written down first."""
    measured: Entry | None = None
    """The wording that stood when it was first measured."""
    measured_since: str = ""


class Registry:
    """The lines of one or more files; new ones go to the first.

    Parameters
    ----------
    own : Path
        File to append to; need not exist.
    shipped : sequence of Path
        Files that came with the claims, older than the own one.
    """

    def __init__(self, file: Path, shipped: Iterable[Path] = ()) -> None:
        self.file = file
        self.damaged = 0
        """Lines that cannot be read and are passed over."""
        self._histories: dict[Cell, _History] = {}
        self._shipped = [path for path in shipped if path != file]
        self._read()

    def register(
        self, entries: Iterable[Entry], *, run: bool, recorded: Container[Cell] = ()
    ) -> int:
        """Append the lines that say something new; return how many.

        Parameters
        ----------
        entries : iterable of Entry
            What claims say now.
        run : bool
            Whether a run is about to measure them.
        recorded : container of Cell
            Cells of which a verdict is known already.
        """
        wanted = list(entries)
        if not any(self._says_more(entry, run) for entry in wanted):
            return 0
        from filelock import FileLock

        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_suffix(".lock")):
            # Another worker of the same run may have come first.
            self._read()
            date = datetime.now(UTC).isoformat(timespec="seconds")
            new = [
                replace(
                    entry, date=date, run=run,
                    late=entry.cell not in self._histories and entry.cell in recorded,
                )
                for entry in wanted
                if self._says_more(entry, run)
            ]  # fmt: skip
            lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in new)
            if self.damaged:
                # What a killed process left of a line must not swallow the next.
                lines = "\n" + lines
            with self.file.open("a", encoding="utf-8") as file:
                file.write(lines)
        for entry in new:
            self._take(entry)
        return len(new)

    def state(self, entry: Entry) -> Registration | None:
        """Say when what a claim says was registered, and what was changed after it was measured."""
        history = self._histories.get(entry.cell)
        if history is None:
            return None
        first = history.measured or history.latest
        date = history.measured_since if history.measured else history.since
        return Registration(date[:10], not first.late, first.differs(entry))

    def _says_more(self, entry: Entry, run: bool) -> bool:
        history = self._histories.get(entry.cell)
        if history is None or history.latest.differs(entry):
            return True
        return run and history.measured is None

    def _read(self) -> None:
        self._histories, self.damaged = {}, 0
        for path in (*self._shipped, self.file):
            for entry in read_entries(path):
                if entry is None:
                    self.damaged += 1
                else:
                    self._take(entry)

    def _take(self, entry: Entry) -> None:
        known = self._histories.get(entry.cell)
        if known is None:
            known = self._histories[entry.cell] = _History(entry, entry.date)
        else:
            if known.latest.differs(entry):
                known.since = entry.date
            # Whether a verdict came first stays true of whatever is written later.
            known.latest = replace(entry, late=known.latest.late or entry.late)
        # Where a verdict had been recorded, what is written down is what was measured.
        if (entry.run or entry.late) and known.measured is None:
            known.measured, known.measured_since = known.latest, known.since


def read_entries(path: Path) -> Iterator[Entry | None]:
    """Go through the lines of a registry, with ``None`` for one that cannot be read."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8").split("\n"):
        if not line:
            continue
        try:
            yield _entry(json.loads(line))
        except (ValueError, TypeError, KeyError):
            # Half a line is what a process that was killed leaves.
            yield None


def _entry(raw: dict[str, Any]) -> Entry:
    low, high = raw["region"]
    return Entry(**{**raw, "region": (low, high)})


def worded(registration: Registration) -> str:
    """Word a registration in a line."""
    if registration.before and not registration.changed:
        return f"registered before measurement, {registration.date}"
    when = f"registered on {registration.date}" + (
        "" if registration.before else ", after a verdict was recorded"
    )
    return (
        f"{when}; changed since: {', '.join(registration.changed)}"
        if registration.changed
        else when
    )
