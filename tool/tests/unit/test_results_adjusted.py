"""Holm's adjustment over a run: sampled claims alone are a family of tests."""

from __future__ import annotations

from typing import Any

import pytest

from refutable import Source, claim, equals, mean
from refutable.evaluation.results import adjusted
from refutable.records import ClaimReport, Estimate, Outcome, Result, Verdict


def report(name: str, predicts: Any) -> ClaimReport:
    def body(residual_norm: Any) -> Any:
        """Whatever it measures."""
        return residual_norm

    made = claim(
        id=name,
        statement="s",
        refuted_if="r",
        source=Source("study", "R"),
        predicts=predicts,
    )(body)
    claim_report: ClaimReport = made.__claim__.report()
    return claim_report


def result(name: str, p: float | None, verdict: Verdict, *, estimated: bool = True) -> Result:
    estimate = Estimate(0.5, 0.1, 0.9, n=30, p=p) if estimated else None
    where = (name, "study", "R", "observational", "m", "p", "no-bos")
    return Result(*where, Outcome.PASSED, verdict, estimate=estimate)


CLAIMS = [
    report("gain.a", mean.above(0.0)),
    report("gain.b", mean.above(0.0)),
    report("gain.c", mean.above(0.0)),
    report("gain.fact", equals(3)),
]


def test_facts_and_cells_without_a_number_are_no_tests() -> None:
    results, tests = adjusted(
        [
            result("gain.a", 0.02, Verdict.CONFIRMED),
            result("gain.b", 0.04, Verdict.REFUTED),
            result("gain.c", None, Verdict.INCONCLUSIVE, estimated=False),
            result("gain.fact", 1e-9, Verdict.CONFIRMED),
        ],
        CLAIMS,
    )
    assert tests == 2
    by_claim = {r.claim: r for r in results}
    for name in ("gain.a", "gain.b"):
        assert by_claim[name].estimate.p_adjusted == pytest.approx(0.04)
        assert by_claim[name].survives_holm is True
    fact = by_claim["gain.fact"]
    assert (fact.estimate.p_adjusted, fact.survives_holm) == (None, None)
    assert by_claim["gain.c"].estimate is None


def test_what_is_not_decided_neither_survives_nor_falls() -> None:
    results, tests = adjusted(
        [
            result("gain.a", 0.03, Verdict.CONFIRMED),
            result("gain.b", 0.5, Verdict.INCONCLUSIVE),
            result("gain.c", 0.04, Verdict.REFUTED),
        ],
        CLAIMS,
    )
    assert tests == 3
    assert [r.estimate.p_adjusted for r in results] == pytest.approx([0.09, 0.5, 0.09])
    assert [r.survives_holm for r in results] == [False, None, False]
