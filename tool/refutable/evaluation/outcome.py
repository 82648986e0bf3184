"""What the evaluation of one cell came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from refutable.evaluation.evaluate import Evaluation
from refutable.measurement.subject import Subject
from refutable.records import SearchReport
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim


@dataclass(slots=True)
class CellOutcome:
    """What was found for one claim on one model, or on one set of models."""

    cell: Cell
    claim: Claim
    evaluation: Evaluation | None = None
    """``None`` where the claim does not apply, or was not evaluated."""
    subject: Subject | None = None
    """The observations behind it; ``None`` for a claim about several models."""
    sources: set[str] = field(default_factory=set)
    """Where the observations of its models came from: ``live``, ``store`` or ``committed``."""
    reason: str = ""
    """Why the claim does not apply, or what failed; else empty."""
    failed: bool = False
    """Whether the model, the instrument or the body failed; `reason` says how."""
    seconds: float = 0.0
    search: SearchReport | None = None
    """How the claim was attacked, where it was."""

    @property
    def source(self) -> str:
        """Where it rests: on committed numbers, if any did; else live, if any was measured."""
        for origin in ("committed", "live"):
            if origin in self.sources:
                return origin
        return "store"
