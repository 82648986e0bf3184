"""From what was found for each cell to the records that a run leaves."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

from refutable.evaluation.outcome import CellOutcome
from refutable.measurement.state import Settings
from refutable.predictions.base import Judgement
from refutable.records import ClaimReport, How, Outcome, Result, Verdict
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim
from refutable.stats.multiplicity import holm
from refutable.stats.refuted import how_refuted


def result_of(outcome: CellOutcome, kind: Outcome, *, prompts: str, command: str = "") -> Result:
    """Assemble the record of one cell.

    Parameters
    ----------
    outcome : CellOutcome
        What the evaluation came to.
    kind : Outcome
        Whether its test passed, failed, was skipped or could not be run.
    prompts : str
        Name by which the prompt set is recorded.
    command : str
        Runs this cell alone again.
    """
    claim, cell, evaluation = outcome.claim, outcome.cell, outcome.evaluation
    result = Result(
        claim=claim.id,
        study=claim.source.study,
        ref=claim.source.ref,
        kind=claim.kind,
        model=cell.model,
        prompts=prompts,
        arm=cell.arm,
        outcome=kind,
        reason=outcome.reason,
        models=cell.models,
        command=command,
        seconds=outcome.seconds,
    )
    if evaluation is None or kind is Outcome.ERROR:
        # What broke after the evaluation leaves no verdict that could be read as one.
        return result
    judgement = evaluation.judgement
    return replace(
        result,
        verdict=judgement.decision.verdict,
        reason=judgement.decision.reason,
        estimate=judgement.estimate,
        parts=tuple(judgement.parts),
        control=evaluation.control,
        replication=evaluation.replication,
        counterexample=judgement.counterexample,
        search=outcome.search,
        families_needed=judgement.families_needed,
        how=_how(claim, judgement),
        seeds=tuple(seeds_of(evaluation.values)) if cell.grouped else (),
        source=outcome.source,
    )


def _how(claim: Claim, judgement: Judgement) -> How | None:
    if judgement.decision.verdict is not Verdict.REFUTED:
        return None
    return how_refuted(
        judgement.estimate,
        claim.predicts.region,
        sesoi=claim.sesoi,
        by_example=claim.predicts.by_example,
    )


def seeds_of(values: Mapping[str, Mapping[int | None, object]]) -> list[int]:
    """Return the seeds behind a claim over groups of models."""
    return sorted(
        {int(seed) for members in values.values() for seed in members if seed is not None}
    )


def rerun_command(claim: str, cell: Cell, settings: Settings) -> str:
    """Return the command line that reruns exactly one cell."""
    words = ["refutable", "verify", claim]
    for model in cell.models:
        words += ["--model", model]
    words += ["--prompts", cell.prompts, "--arm", cell.arm]
    if settings.device != "cpu":
        words += ["--device", settings.device]
    if settings.dtype != "float32":
        words += ["--dtype", settings.dtype]
    return shlex.join(words)


def adjusted(
    results: Iterable[Result], claims: Iterable[ClaimReport]
) -> tuple[tuple[Result, ...], int]:
    """Adjust p over all sampled claims x models of a run, as Holm does.

    Returns
    -------
    results : tuple of Result
        In the order of study, claim, model, prompts and arm.
    tests : int
        Number of p values that were adjusted together.
    """
    ordered = sorted(results, key=lambda r: (r.study, r.claim, r.model, r.prompts, r.arm))
    sampled = {claim.id for claim in claims if claim.sampled}
    tested = [
        (place, result.estimate)
        for place, result in enumerate(ordered)
        if result.claim in sampled and result.estimate is not None
    ]
    p_values, survives = holm([estimate.p for _, estimate in tested])
    for (place, estimate), p, stays in zip(tested, p_values, survives, strict=True):
        decided = ordered[place].verdict in (Verdict.CONFIRMED, Verdict.REFUTED)
        ordered[place] = replace(
            ordered[place],
            estimate=replace(estimate, p_adjusted=p),
            survives_holm=stays if decided else None,
        )
    return tuple(ordered), len(tested)
