"""What the gate says of each claim between two releases, on evidence with planted changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support import guarded
from support.releases import (
    CALM,
    FAMILIES,
    KINDS,
    MARGIN,
    SIZE,
    altered,
    evidence,
    jitter,
    observations,
    statuses,
    typed,
)

from refutable.errors import EvidenceError
from refutable.gate.compare import gate
from refutable.gate.policy import Policy
from refutable.gate.records import Status
from refutable.gate.runs import Run, compare_runs
from refutable.gate.wording import render
from refutable.records import Counterexample, Estimate, InstrumentCheck, Outcome, Verdict
from refutable.stats.build import EXACT


def test_identical_releases_are_the_same_even_strictly():
    report = gate(evidence(), evidence(), observations(), observations(), strict=True)
    assert set(statuses(report).values()) == {Status.SAME}
    assert len(report.changes) == len(KINDS)
    assert report.exit_code == 0


def test_one_planted_shift_gives_exactly_its_line():
    report = gate(
        evidence(), evidence(), observations(), observations(shifts={"gain.mean": 0.1}), strict=True
    )
    bad = [c for c in report.changes if c.status is not Status.SAME]
    assert [c.claim for c in bad] == ["gain.mean"]
    assert bad[0].status is Status.CHANGED
    assert bad[0].change.value == pytest.approx(0.1)
    assert report.exit_code == 1


def test_p_is_holm_over_the_base_claims_of_the_paired_margin_test():
    names = ("gain.mean", "gain.every", "gain.share")
    moved = 0.1 + np.repeat(jitter(1, 0.03, FAMILIES), SIZE)
    report = gate(
        evidence(names),
        evidence(names),
        observations(names),
        observations(names, shifts={"gain.mean": moved}),
    )
    line = report.changes[0]
    d = moved[::SIZE]
    p = guarded.of_mean(d, MARGIN)
    assert report.family_size == 3
    assert line.p_adjusted == pytest.approx(3 * p)
    assert line.status is Status.CHANGED


def test_a_shift_about_the_margin_is_undecided_and_fails_strictly_only():
    names = ("gain.mean",)
    about = MARGIN + np.repeat(jitter(2, 0.03, FAMILIES), SIZE)
    pair = observations(names), observations(names, shifts={"gain.mean": about})
    loose = gate(evidence(names), evidence(names), *pair)
    assert loose.changes[0].status is Status.UNDECIDED
    assert loose.exit_code == 0
    assert gate(evidence(names), evidence(names), *pair, strict=True).exit_code == 1


@pytest.mark.parametrize(
    ("name", "shift", "status"),
    [
        # The mean over blocks moves and the slope does not.
        ("gain.trend", 0.5, Status.SAME),
        ("gain.trend", lambda block, _: 0.1 * block, Status.CHANGED),
        # Both variables move, the correlation does not.
        ("gain.correlation", 0.5, Status.SAME),
        # Nothing crosses the share's limit of .1.
        ("gain.share", lambda *_: 0.0, Status.SAME),
        ("gain.share", -5.0, Status.CHANGED),
        # Registers move apart while the mean over all families stays.
        (
            "gain.ordered",
            np.where(CALM, -0.2, 0.2) + np.repeat(jitter(3, 0.01, FAMILIES), SIZE),
            Status.CHANGED,
        ),
    ],
)
def test_each_claim_is_compared_in_its_own_statistic(name, shift, status):
    report = gate(
        evidence((name,)),
        evidence((name,)),
        observations((name,)),
        observations((name,), shifts={name: shift}),
    )
    assert report.changes[0].status is status


CORRELATED = ("gain.correlation",)
FAMILY = np.repeat(np.arange(20), 6)


def pairs_of(x, y):
    """What a correlation claim's body returned, for 20 families of six prompts."""
    made = pd.DataFrame(
        {
            "claim": CORRELATED[0], "model": "m", "prompts": "set", "arm": "no-bos",
            "family": [f"f{i:02}" for i in FAMILY], "prompt": [f"p{i}" for i in range(120)],
        }
    )  # fmt: skip
    both = [made.assign(quantity=q, value=v) for q, v in (("value", x), ("value2", y))]
    return typed(pd.concat(both))


def test_a_changed_correlation_is_seen():
    rng = np.random.default_rng(4)
    x = rng.normal(size=120)
    tight, loose = x + 0.3 * rng.normal(size=120), 0.3 * x + rng.normal(size=120)
    measured = gate(
        evidence(CORRELATED), evidence(CORRELATED), pairs_of(x, tight), pairs_of(x, loose)
    ).changes[0]
    assert measured.status is Status.CHANGED
    assert measured.part == "within families"
    assert measured.change.value < -0.5


def _jackknife_values(x, y):
    """Of Fisher z over family means, family by family."""
    means = [np.array([v[FAMILY == f].mean() for f in range(20)]) for v in (x, y)]

    def z(keep):
        return np.arctanh(stats.pearsonr(*(m[keep] for m in means)).statistic)

    others = ~np.eye(20, dtype=bool)
    return 20 * z(np.full(20, True)) - 19 * np.array([z(keep) for keep in others])


def test_a_correlation_that_changed_between_families_alone_is_seen():
    rng = np.random.default_rng(6)
    centre, inner = rng.normal(size=20)[FAMILY], rng.normal(size=120)
    inner -= np.array([inner[FAMILY == f].mean() for f in range(20)])[FAMILY]
    other = rng.normal(size=20)[FAMILY]
    x, before = centre + inner, centre + 0.3 * other + inner
    after = -centre + 0.3 * other + inner
    measured = gate(
        evidence(CORRELATED), evidence(CORRELATED), pairs_of(x, before), pairs_of(x, after)
    ).changes[0]
    assert (measured.status, measured.part) == (Status.CHANGED, "between families")
    d = _jackknife_values(x, after) - _jackknife_values(x, before)
    assert measured.change.value == pytest.approx(d.mean())
    p = guarded.of_mean(d, -MARGIN)
    # Two parts: Bonferroni; one claim: nothing more by Holm.
    assert measured.p_adjusted == pytest.approx(2 * p)


def test_missing_claim_is_lost():
    left = tuple(n for n in KINDS if n != "gain.trend")
    report = gate(evidence(), evidence(left), observations(), observations(left))
    bad = [c for c in report.changes if c.status is not Status.SAME]
    assert [(c.claim, c.status) for c in bad] == [("gain.trend", Status.LOST)]
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"outcome": Outcome.ERROR, "verdict": None, "reason": "packed"}, Status.INSTRUMENT),
        ({"outcome": Outcome.SKIPPED, "verdict": None, "reason": "about x"}, Status.LOST),
        ({"counterexample": Counterexample("f1/0", -0.2)}, Status.COUNTEREXAMPLE),
    ],
)
def test_what_fails_beside_a_change(changes, status):
    candidate = altered(evidence(), "gain.every", **changes)
    report = gate(evidence(), candidate, observations(), observations())
    bad = [(c.claim, c.status) for c in report.changes if c.status is not Status.SAME]
    assert bad == [("gain.every", status)]
    assert report.exit_code == 1


def test_a_known_counterexample_is_not_news():
    made = altered(evidence(), "gain.every", counterexample=Counterexample("f1/0", -0.2))
    assert gate(made, made, observations(), observations()).exit_code == 0


def test_failed_check_of_a_model_is_told_once():
    check = InstrumentCheck("fidelity", False, detail="3 tensors ignored")
    model = replace(evidence().models[0], checks=(check,))
    candidate = replace(evidence(), models=(model,))
    report = gate(evidence(), candidate, observations(), observations())
    told = [c for c in report.changes if c.status is Status.INSTRUMENT]
    assert [(c.claim, c.reason) for c in told] == [("", "fidelity: 3 tensors ignored")]
    assert report.exit_code == 1


def test_failed_checks_are_told_beside_claims_of_other_models():
    check = InstrumentCheck("packed", False, detail="differs by 0.3")
    model = replace(evidence().models[0], checks=(check,))
    other = replace(model, id="other", checks=(replace(check, detail="differs by 0.5"),))
    candidate = replace(
        altered(evidence(), "gain.mean", outcome=Outcome.ERROR, verdict=None, reason="no memory"),
        models=(model, other),
    )
    report = gate(evidence(), candidate, observations(), observations())
    told = [(c.claim, c.model, c.reason) for c in report.changes if c.status is Status.INSTRUMENT]
    assert told == [("gain.mean", "m", "no memory"), ("", "other", "packed: differs by 0.5")]


def test_moved_verdicts_are_listed_and_gate_nothing():
    candidate = altered(evidence(), "gain.mean", verdict=Verdict.INCONCLUSIVE)
    runs = Run(evidence(), observations()), Run(candidate, observations())
    answer = compare_runs(*runs, Policy())
    assert answer.exit_code == 0
    said = "verdicts that moved (they gate nothing): gain.mean confirmed to inconclusive"
    assert said in render(answer)


def test_facts_are_compared_by_value():
    moved = altered(
        evidence(), "weights.count", estimate=Estimate(125.0, 125.0, 125.0, method=EXACT)
    )
    base = altered(
        evidence(), "weights.count", estimate=Estimate(124.0, 124.0, 124.0, method=EXACT)
    )
    report = gate(base, moved, observations(), observations())
    line = next(c for c in report.changes if c.claim == "weights.count")
    assert (line.status, line.change.value, line.p_adjusted) == (Status.CHANGED, 1.0, None)


def test_margin_is_at_least_the_numerical_noise():
    names = ("gain.mean",)
    estimate = replace(evidence(names).results[0].estimate, error=0.04)
    noisy = altered(evidence(names, margin=0.01), names[0], estimate=estimate)
    shifted = observations(names, shifts={"gain.mean": 0.07})
    assert gate(noisy, noisy, observations(names), shifted).exit_code == 0
    exact = evidence(names, margin=0.01)
    assert gate(exact, exact, observations(names), shifted).exit_code == 1


def test_nothing_decided_is_nothing_to_judge():
    empty = replace(evidence(), results=())
    with pytest.raises(EvidenceError, match="nothing to compare"):
        gate(empty, evidence(), None, None)
