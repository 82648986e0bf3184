"""What a run found: of one item until its report is made, of all items as their reports come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from refutable.records import ClaimReport, ModelReport, PromptSetReport, Result
from refutable.spec.cell import Case
from refutable.spec.claim import Claim

if TYPE_CHECKING:
    from refutable.evaluation.evaluate import Evaluation, Subject

CONCLUSION = pytest.StashKey["Conclusion"]()


@dataclass(slots=True)
class Conclusion:
    """What was found for one item, kept until its report is made."""

    case: Case
    claim: Claim
    evaluation: Evaluation | None = None
    subject: Subject | None = None
    sources: set[str] = field(default_factory=set)
    """Where the observations of its models came from: ``live``, ``store`` or ``committed``."""
    reason: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Found:
    """What reports brought in, by node id or name."""

    results: dict[str, Result] = field(default_factory=dict)
    claims: dict[str, ClaimReport] = field(default_factory=dict)
    models: dict[str, ModelReport] = field(default_factory=dict)
    prompts: dict[str, PromptSetReport] = field(default_factory=dict)
