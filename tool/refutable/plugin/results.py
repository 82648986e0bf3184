"""What the reports of a run brought in, by node id or name."""

from __future__ import annotations

from dataclasses import dataclass, field

from refutable.records import ClaimReport, ModelReport, PromptSetReport, Result


@dataclass(slots=True)
class RunResults:
    """What reports brought in, by node id or name."""

    results: dict[str, Result] = field(default_factory=dict)
    claims: dict[str, ClaimReport] = field(default_factory=dict)
    models: dict[str, ModelReport] = field(default_factory=dict)
    prompts: dict[str, PromptSetReport] = field(default_factory=dict)
