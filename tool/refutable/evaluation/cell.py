"""Evaluating one cell: a claim on one model or on several, by a plain function call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from refutable.errors import NotMeasurableError
from refutable.evaluation.evaluate import Evaluation, evaluate
from refutable.evaluation.grouped import evaluate_group
from refutable.evaluation.guard import guarded
from refutable.evaluation.outcome import CellOutcome
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Need, needs_of, not_applicable
from refutable.records import Verdict
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary

Watch: TypeAlias = Callable[[str, object, tuple[object, ...]], None]
"""Told a model and what the body returned on it and on the copies of its null control, while the
model's arrays are at hand."""


def evaluate_cell(
    claim: Claim,
    cell: Cell,
    harness: Harness,
    prompts: PromptLibrary,
    *,
    watch: Watch = lambda model, values, controls: None,
) -> CellOutcome:
    """Measure what a claim needs in a cell, if the store lacks it, and evaluate the claim.

    Parameters
    ----------
    claim : Claim
        The claim.
    cell : Cell
        Model or models, prompt set and arm; see `refutable.spec.cell.cells_of`.
    harness : Harness
        Owner of the models; see `refutable.measurement.harness.open_harness`.
    prompts : PromptLibrary
        Prompt sets, and stored counterexamples, by name.
    watch : callable, optional
        For a claim about several models: told each model and the body's values on it and on its
        controls.

    Returns
    -------
    CellOutcome
        Without an evaluation, and with the reason, where the claim does not apply.

    Raises
    ------
    RefutableError
        If the model, the instrument, the environment or the claim's body failed: that is an
        error, never a refutation.
    """
    needs = needs_of(claim, cell, harness.models, prompts)
    harness.plan(needs)
    if cell.grouped:
        return evaluate_group(claim, cell, harness, watch)
    outcome = CellOutcome(cell, claim)
    reason = not_applicable(needs[0], harness.facts(cell.model))
    if reason is not None:
        outcome.reason = reason
        return outcome
    try:
        subject = harness.subject(needs[0])
    except NotMeasurableError as problem:
        outcome.reason = str(problem)
        return outcome
    outcome.subject = subject
    outcome.sources.add(harness.source_of(needs[0], subject))
    evaluation = guarded(claim, cell, lambda: evaluate(claim, subject, model=cell.model))
    if len(needs) > 1:
        evaluation = _replay(harness, needs[1], cell, evaluation)
    outcome.evaluation = _with_text(evaluation, {need.prompts for need in needs}, prompts)
    return outcome


def _with_text(evaluation: Evaluation, sets: set[str], prompts: PromptLibrary) -> Evaluation:
    """Show a counterexample by its text: the id of a prompt says nothing to a reader."""
    shown = evaluation.judgement.counterexample
    if shown is None:
        return evaluation
    text = {p.id: p.shown for name in sets for p in prompts(name).prompts}
    shown = replace(shown, prompt=text.get(shown.prompt, shown.prompt))
    return replace(evaluation, judgement=replace(evaluation.judgement, counterexample=shown))


def _replay(harness: Harness, need: Need, cell: Cell, evaluation: Evaluation) -> Evaluation:
    """Judge the stored counterexamples of a universal claim too; one that holds refutes it."""
    claim = need.claim
    bare = replace(harness.subject(need), controls=(), control_names=())
    judgement = guarded(claim, cell, lambda: evaluate(claim, bare, model=cell.model)).judgement
    if judgement.decision.verdict is not Verdict.REFUTED or judgement.counterexample is None:
        return evaluation
    if evaluation.judgement.decision.verdict is Verdict.REFUTED:
        return evaluation
    shown = replace(judgement.counterexample, origin="replayed")
    decided = replace(judgement, counterexample=shown, estimate=evaluation.judgement.estimate)
    return replace(evaluation, judgement=decided)
