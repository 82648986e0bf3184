"""What a gate says of each claim; plain records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from refutable.records import How, Verdict
from refutable.stats.paired import PairedChange


class Status(StrEnum):
    """What became of one claim from the base to the candidate."""

    CHANGED = "changed"
    LOST = "lost"
    COUNTEREXAMPLE = "new counterexample"
    INSTRUMENT = "instrument failed"
    UNDECIDED = "undecided"
    SAME = "same"
    NEW = "new"


FAILS = (Status.CHANGED, Status.LOST, Status.COUNTEREXAMPLE, Status.INSTRUMENT)


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """One claim on one model, prompt set and arm, in both releases."""

    claim: str
    model: str
    prompts: str
    arm: str
    status: Status
    reason: str
    part: str = ""
    """Which part of the statistic the change is of, where it has several."""
    change: PairedChange | None = None
    p_adjusted: float | None = None
    """Holm over the base's claims; ``None`` for a fact."""
    paired: bool = True
    unit: str = ""
    base: Verdict | None = None
    candidate: Verdict | None = None
    how: How | None = None
    """How the candidate's run refuted the claim, where it did."""
    before: float | None = None
    """The base's estimate."""
    after: float | None = None
    held_against: str = ""
    """The candidate's name of the model."""
    advisory: bool = False
    """Whether a change of it is told and gates nothing."""

    @property
    def told_only(self) -> bool:
        """Whether it changed and gates nothing all the same."""
        return self.advisory and self.status is Status.CHANGED

    @property
    def verdict_moved(self) -> bool:
        """Whether the verdict differs, which gates nothing."""
        return None not in (self.base, self.candidate) and self.base != self.candidate


@dataclass(frozen=True, slots=True)
class GateReport:
    """The outcome of a gate."""

    changes: tuple[ClaimChange, ...]
    strict: bool
    family_size: int
    """Number of claims that Holm's correction counts."""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 0 for nothing changed, 1 for a failure (with `strict` also for UNDECIDED)."""
        bad = (*FAILS, Status.UNDECIDED) if self.strict else FAILS
        return int(any(c.status in bad and not c.told_only for c in self.changes))
