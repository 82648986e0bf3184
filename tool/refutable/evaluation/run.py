"""The evidence of a run that no test runner drives."""

from __future__ import annotations

from dataclasses import dataclass, field

from refutable.errors import RefutableError
from refutable.evaluation.environment import environment
from refutable.evaluation.outcome import CellOutcome
from refutable.evaluation.results import adjusted, rerun_command, result_of
from refutable.evidence.over_models import over_models, summed_up
from refutable.measurement.harness import Harness
from refutable.measurement.state import Settings
from refutable.records import (
    ClaimReport,
    Evidence,
    ModelReport,
    Outcome,
    PromptSetReport,
    Result,
)
from refutable.spec.prompts import PromptLibrary


@dataclass(slots=True)
class Run:
    """Results of cells as they come in, and what they are about.

    Parameters
    ----------
    settings : Settings
        Device and dtype.
    started : float
        Seconds since the epoch.
    """

    settings: Settings
    started: float
    results: list[Result] = field(default_factory=list)
    claims: dict[str, ClaimReport] = field(default_factory=dict)
    models: dict[str, ModelReport] = field(default_factory=dict)
    prompts: dict[str, PromptSetReport] = field(default_factory=dict)

    def add(self, outcome: CellOutcome, harness: Harness, library: PromptLibrary) -> None:
        """Take up what was found for one cell."""
        cell, claim = outcome.cell, outcome.claim
        if outcome.failed:
            kind = Outcome.ERROR
        else:
            kind = Outcome.SKIPPED if outcome.evaluation is None else Outcome.PASSED
        label = cell.prompts
        if kind is not Outcome.ERROR:
            try:
                label = library.label(cell.prompts)
                self.prompts[label] = library(cell.prompts).report()
            except RefutableError:
                # A claim that does not apply may name prompts that are not here.
                label = cell.prompts
        command = rerun_command(claim.id, cell, self.settings)
        self.results.append(result_of(outcome, kind, prompts=label, command=command))
        self.claims[claim.id] = claim.report()
        for model in cell.models:
            if (report := harness.report(model)) is not None:
                self.models[model] = report

    def evidence(self, command: str) -> Evidence:
        """Return the run as records, p adjusted over its sampled claims and models."""
        results, tests = adjusted(self.results, self.claims.values())
        return Evidence(
            environment=environment(
                self.settings, started=self.started, command=command, tests=tests
            ),
            claims=tuple(self.claims[name] for name in sorted(self.claims)),
            models=tuple(self.models[name] for name in sorted(self.models)),
            prompts=tuple(self.prompts[name] for name in sorted(self.prompts)),
            results=results,
            notes=tuple(over_models(results)),
            over_models=summed_up(results, self.claims),
        )
