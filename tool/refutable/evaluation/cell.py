"""Evaluating one item: a claim on one model, or on several."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from refutable.errors import NotMeasurableError, RefutableError
from refutable.spec.cell import Case
from refutable.spec.claim import Claim

if TYPE_CHECKING:
    from refutable.evaluation.evaluate import Evaluation, Subject
    from refutable.evaluation.outcome import Conclusion
    from refutable.measurement.harness import Need
    from refutable.plugin.session import ClaimSession
    from refutable.predictions import Judgement


def evaluate_case(session: ClaimSession, conclusion: Conclusion) -> str | None:
    """Measure and evaluate an item; return the reason if the claim does not apply.

    Raises
    ------
    RefutableError
        If the model, the instrument or the environment failed.
    """
    if conclusion.case.grouped:
        return _evaluate_group(session, conclusion)
    return _evaluate_single(session, conclusion)


def _evaluate_single(session: ClaimSession, conclusion: Conclusion) -> str | None:
    from refutable.evaluation.evaluate import evaluate
    from refutable.measurement.harness import not_applicable

    claim, case = conclusion.claim, conclusion.case
    needs = session.needs(claim, case)
    facts = session.laboratory.facts(case.model)
    reason = not_applicable(needs[0], facts)
    if reason is not None:
        return reason
    try:
        subject = session.laboratory.subject(needs[0])
    except NotMeasurableError as problem:
        return str(problem)
    conclusion.subject = subject
    conclusion.sources.add(source_of(session, needs[0], subject))
    found = guarded(claim, case, lambda: evaluate(claim, subject, model=case.model))
    if len(needs) > 1:
        found = _replay(session, conclusion, found)
    conclusion.evaluation = _with_witness_text(session, conclusion, found)
    _keep_rows(session, conclusion)
    return None


def source_of(session: ClaimSession, need: Need, subject: Subject) -> str:
    """Say where what a claim rests on came from; what only illustrates it does not count."""
    from refutable.measurement.archive import COMMITTED

    rests_on = need.of_controls & set(subject.observations)
    if any(subject.observations[name].attrs.get(COMMITTED) for name in rests_on):
        return "committed"
    report = session.laboratory.report(need.model)
    return "store" if report is None else report.origin


def _with_witness_text(
    session: ClaimSession, conclusion: Conclusion, found: Evaluation
) -> Evaluation:
    """Show a counterexample by its text: the id of a prompt says nothing to a reader."""
    witness = found.judgement.counterexample
    if witness is None:
        return found
    sets = {need.prompts for need in session.needs(conclusion.claim, conclusion.case)}
    text = {p.id: p.shown for name in sets for p in session.prompt_set(name).prompts}
    shown = replace(witness, prompt=text.get(witness.prompt, witness.prompt))
    return replace(found, judgement=replace(found.judgement, counterexample=shown))


def guarded(claim: Claim, case: Case, work: Any) -> Any:
    """Run a claim's body; what it raises is an error of the claim, told in one line."""
    try:
        return work()
    except RefutableError as problem:
        if claim.id in str(problem):
            raise
        raise type(problem)(f"{claim.id} on {case.model}: {problem}") from problem
    except Exception as problem:
        what = " ".join(str(problem).split())[:300]
        place = _place(problem, claim)
        kind = type(problem).__name__
        raise RefutableError(
            f"the body of {claim.id} failed on {case.model}: {kind}: {what}{place}"
        ) from problem


def _place(problem: BaseException, claim: Claim) -> str:
    import traceback

    code = claim.body.__code__
    for frame in traceback.extract_tb(problem.__traceback__):
        if frame.filename == code.co_filename:
            return f" (line {frame.lineno} of its file)"
    return ""


def _replay(session: ClaimSession, conclusion: Conclusion, found: Evaluation) -> Evaluation:
    """Judge the stored witnesses of a universal claim too; one that still violates refutes it."""
    from refutable.evaluation.evaluate import evaluate
    from refutable.records import Verdict

    claim, case = conclusion.claim, conclusion.case
    need = session.needs(claim, case)[1]
    subject = session.laboratory.subject(need)
    bare = replace_controls(subject)
    again = guarded(claim, case, lambda: evaluate(claim, bare, model=case.model))
    judgement: Judgement = again.judgement
    if judgement.decision.verdict is not Verdict.REFUTED or judgement.counterexample is None:
        return found
    witness = replace(judgement.counterexample, origin="replayed")
    if found.judgement.decision.verdict is Verdict.REFUTED:
        return found
    decided = replace(judgement, counterexample=witness, estimate=found.judgement.estimate)
    return replace(found, judgement=decided)


def replace_controls(subject: Subject) -> Subject:
    """Return a subject without its controls."""
    return replace(subject, controls=(), control_names=())


def _evaluate_group(session: ClaimSession, conclusion: Conclusion) -> str | None:
    """Evaluate a claim about several models, from what is stored of each."""
    from refutable.evaluation.grouped import evaluate_group

    return evaluate_group(session, conclusion)


def _keep_rows(session: ClaimSession, conclusion: Conclusion) -> None:
    from refutable.evidence.rows import keep_values

    keep_values(session, conclusion)
