"""What the reports of a run brought in, by node id or name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from refutable.records import ClaimReport, ModelReport, PromptSetReport, Result


@dataclass(slots=True)
class RunResults:
    """What reports brought in, by node id or name."""

    results: dict[str, Result] = field(default_factory=dict)
    claims: dict[str, ClaimReport] = field(default_factory=dict)
    models: dict[str, ModelReport] = field(default_factory=dict)
    prompts: dict[str, PromptSetReport] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    """What the comparison of a verdict with the recorded one said, where it said anything."""
    failing: set[str] = field(default_factory=set)
    left_in: Path | None = None
    """The folder that the evidence was left in."""
    report_made: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    """Why something could not be measured, and the item that told it."""

    @property
    def failed(self) -> frozenset[str]:
        """Node ids of cells whose test failed for its verdict."""
        return frozenset(self.failing)

    def once(self, nodeid: str, model: str, reason: str) -> str:
        """Return a reason the first time it is met, and where it was told after that."""
        first = self.reasons.setdefault(reason, nodeid)
        if first == nodeid:
            return reason
        return f"{model} could not be measured, for the reason that {first} gives"
