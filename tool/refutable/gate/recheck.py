"""A run checked without its model: digests of its files, and estimates again from observations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from refutable.errors import EvidenceError
from refutable.evidence.release import read_release, release_folders
from refutable.gate.again import Again, Observed
from refutable.gate.facts import listed
from refutable.gate.runs import read_run
from refutable.records import Estimate, Result

TOLERANCE = 1e-6
"""Largest difference of a recomputed number, in widths of its interval and relative to it."""
NUMBERS = ("value", "low", "high", "check_low", "check_high")


@dataclass(frozen=True, slots=True)
class Recheck:
    """What was checked."""

    recomputed: int
    wrong: tuple[str, ...]
    """Results whose numbers do not follow from the observations, and why."""
    not_recomputed: tuple[tuple[str, str], ...]
    """Results that the observations do not give again, each with the reason."""
    releases: int
    controls: int = 0
    """Readings of null controls that were made again."""

    @property
    def agrees(self) -> bool:
        """Whether nothing that was checked is wrong."""
        return not self.wrong

    @property
    def vacuous(self) -> bool:
        """Whether there were results and no estimate of them was recomputed."""
        return not self.recomputed and bool(self.not_recomputed)

    def lines(self) -> list[str]:
        """Say it in words, the answer first."""
        word = "agrees" if self.agrees else "DISAGREES"
        if self.vacuous:
            word = "NOTHING RECOMPUTED"
        head = (
            f"{word}: {self.recomputed - len(self.wrong)} of {self.recomputed} estimates follow "
            f"from the observations, with {self.controls} readings of null controls; "
            f"{self.releases} releases have the files that were written"
        )
        lines = [head, *(f"  {line}" for line in self.wrong)]
        reasons: dict[str, list[str]] = defaultdict(list)
        for name, reason in self.not_recomputed:
            reasons[reason].append(name)
        for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
            lines.append(f"  not recomputed: {len(names)} ({listed(names, 1)}): {reason}")
        return lines


def recheck_run(run: Path) -> Recheck:
    """Check the folder of a run.

    Parameters
    ----------
    run : Path
        With ``evidence.json`` and ``observations.parquet``.

    Raises
    ------
    EvidenceError
        If a file is missing, unreadable, or not the one that the run wrote.
    """
    run_read = read_run(run)
    releases = [read_release(folder) for folder in release_folders(run)]
    if run_read.rows is None:
        raise EvidenceError(
            f"{run} has no observations.parquet: no estimate can be recomputed; give the folder "
            "that the run wrote (--claim-out)"
        )
    observed = Observed(run_read.evidence, run_read.rows)
    wrong, left, count, controls = [], [], 0, 0
    for result in run_read.evidence.results:
        if result.verdict is None or result.estimate is None:
            continue
        name = f"{result.claim} ({result.model}, {result.arm})"
        again = observed.judge(result)
        if again.judgement is None:
            left.append((name, again.reason))
            continue
        count += 1
        controls += again.control is not None
        if said := "; ".join(_differences(result, again)):
            wrong.append(f"{name}: {said}")
    return Recheck(count, tuple(wrong), tuple(left), len(releases), controls)


def _differences(result: Result, again: Again) -> Iterator[str]:
    """Say which recorded numbers do not follow."""
    judged, recorded, control = again.judgement, result.estimate, again.control
    assert judged is not None  # noqa: S101  (the caller looked)
    assert recorded is not None  # noqa: S101
    yield from _unlike("", recorded, judged.estimate)
    for part, new in zip(result.parts, judged.parts, strict=False):
        yield from _unlike(f"{part.part}: ", part, new)
    if judged.decision.verdict is not result.verdict:
        yield f"{result.verdict} is recorded, {judged.decision.verdict} follows"
    if control is None or result.control is None:
        return
    for word, old, now in (
        ("control: ", result.control.estimate, control.estimate),
        ("model minus control: ", result.control.contrast, control.contrast),
    ):
        if old is not None and now is not None:
            yield from _unlike(word, old, now)
    if control.reading is not result.control.reading:
        yield f"control {result.control.reading} is recorded, {control.reading} follows"


def _unlike(word: str, old: Estimate, new: Estimate) -> Iterator[str]:
    ends = (old.low, old.high)
    span = 0.0 if None in ends else abs((old.high or 0.0) - (old.low or 0.0))
    # A reduction may hide the error of one value, which an interval is widened by.
    apart = 1.01 * abs(old.error - new.error)
    for name in NUMBERS:
        a, b = getattr(old, name), getattr(new, name)
        # Earlier runs did not record the ends of the check.
        if not _near(a, b, span, apart) and not (a is None and name.startswith("check")):
            yield f"{word}{name} {a} is recorded, {b} follows"


def _near(a: float | None, b: float | None, span: float, apart: float) -> bool:
    if a is None or b is None or not math.isfinite(a) or not math.isfinite(b):
        unknown = [one is None or math.isnan(one) for one in (a, b)]
        return all(unknown) or a == b
    return abs(a - b) <= TOLERANCE * (span + abs(a)) + apart
