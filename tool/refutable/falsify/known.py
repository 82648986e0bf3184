"""Evidence completed by the counterexamples that are kept: what the gate compares."""

from __future__ import annotations

from dataclasses import replace

from refutable.falsify.counterexamples import CounterexampleStore, Stored
from refutable.records import ClaimReport, Counterexample, Evidence, Result
from refutable.system import wording


def with_known(evidence: Evidence, kept: CounterexampleStore) -> Evidence:
    """Give results without a counterexample the one that is kept for the same claim and weights.

    A run that made no search, or one before the counterexample was found, lacks what is known of
    its model: a prompt that both releases are known to fail on is none that is new.

    Parameters
    ----------
    evidence : Evidence
        Of one run.
    kept : CounterexampleStore
        What was found and verified.

    Returns
    -------
    Evidence
        The same where nothing is kept; verdicts stay as the run made them.
    """
    claims = {claim.id: claim for claim in evidence.claims}
    weights = {model.id: model.weights_digest for model in evidence.models}
    results = []
    for result in evidence.results:
        claim, digest = claims.get(result.claim), weights.get(result.model, "")
        known = _known(result, claim, digest, kept) if claim and digest else None
        results.append(result if known is None else replace(result, counterexample=known))
    return replace(evidence, results=tuple(results))


def _known(
    result: Result, claim: ClaimReport, weights: str, kept: CounterexampleStore
) -> Counterexample | None:
    """Return what is kept of a cell that was decided without a counterexample."""
    if result.verdict is None or result.counterexample is not None:
        return None
    key = (claim.id, weights, result.arm)
    # A claim that was reworded since, with another region, is another claim.
    region = wording.region(claim.region)
    fitting = [one for one in kept.of(claim.id) if one.key == key and one.region == region]
    return _shown(fitting[0]) if fitting else None


def _shown(one: Stored) -> Counterexample:
    return Counterexample(
        one.text,
        one.value,
        origin="replayed",
        how=one.how,
        tokens=len(one.ids),
        tokens_before=one.tokens_before,
        minimal=one.complete,
        verified=True,
    )
