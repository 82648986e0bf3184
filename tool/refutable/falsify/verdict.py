"""What an attack does to a verdict: a verified counterexample refutes a universal claim."""

from __future__ import annotations

from dataclasses import replace

from refutable.evaluation.evaluate import Evaluation
from refutable.evaluation.outcome import CellOutcome
from refutable.falsify.attack import Attack, Attacker, Target
from refutable.records import Counterexample, Decision, Region, Verdict
from refutable.stats import decide
from refutable.system import wording


def attacked(outcome: CellOutcome, attacker: Attacker) -> CellOutcome:
    """Attack the claim of a cell that was evaluated, and take up what is found.

    Parameters
    ----------
    outcome : CellOutcome
        Of `refutable.evaluation.cell.evaluate_cell`; changed in place.
    attacker : Attacker
        Knows what was asked for.

    Returns
    -------
    CellOutcome
        The verdict of a claim that is no universal one stays as it was, whatever was found.
    """
    evaluation = outcome.evaluation
    if evaluation is None or outcome.cell.grouped:
        return outcome
    cell, claim = outcome.cell, outcome.claim
    attack = attacker(
        Target(claim, cell.model, cell.prompts, cell.arm, evaluation.values, evaluation.error)
    )
    if attack is not None:
        outcome.search = attack.report
        if claim.predicts.kind == "every":
            outcome.evaluation = _decided(evaluation, attack, claim.predicts.region)
    return outcome


def _decided(evaluation: Evaluation, attack: Attack, region: Region) -> Evaluation:
    judgement, shown = evaluation.judgement, attack.counterexample
    if shown is not None:
        decision = Decision(Verdict.REFUTED, _reason(shown, attack.margin, region))
        return replace(
            evaluation, judgement=replace(judgement, decision=decision, counterexample=shown)
        )
    tried = attack.report.candidates
    looked = judgement.decision.verdict is Verdict.INCONCLUSIVE and judgement.estimate.value
    if not tried or looked is None or looked is False:
        return evaluation
    # Nothing is bounded by candidates that were chosen for what others gave.
    decision = decide.universal(None, attack.bound, judgement.estimate.n + tried)
    if attack.report.certificate:
        decision = replace(decision, reason=f"{decision.reason}; {attack.report.certificate}")
    return replace(evaluation, judgement=replace(judgement, decision=decision))


def _reason(shown: Counterexample, margin: float, region: Region) -> str:
    tokens = shown.tokens
    where = "stored" if shown.origin == "replayed" else shown.how
    before = f", of {shown.tokens_before} tokens at first" if shown.tokens_before > tokens else ""
    return (
        f"a counterexample of {tokens} token{'s' * (tokens != 1)} lies {margin:.3g} outside of the "
        f"region ({wording.region(region)}), run alone in float32 ({where}{before})"
    )
