"""Whatever befalls the claims of a release, each has the line that it alone would have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.releases import FAMILIES, KINDS, MARGIN, SIZE, altered, evidence, observations

from refutable.gate.compare import gate
from refutable.gate.records import FAILS, Status
from refutable.predictions import mean
from refutable.records import (
    Counterexample,
    Outcome,
    Verdict,
)

PAIRED = ("gain.mean", "gain.every", "gain.share")
FEW = settings(max_examples=15)
FATES = {
    "keep": Status.SAME,
    "drop": Status.LOST,
    "skip": Status.LOST,
    "error": Status.INSTRUMENT,
    "counterexample": Status.COUNTEREXAMPLE,
    "shift": Status.CHANGED,
    "nan": Status.LOST,
    "rows": Status.LOST,
    "verdict": Status.SAME,
    "region": Status.SAME,
}
"""What may happen to a claim in the candidate, and what the gate has to say of it."""
fates = st.fixed_dictionaries({name: st.sampled_from(sorted(FATES)) for name in PAIRED})


def noisy(seed, size=1.0):
    """A shift with a spread of its own between families, so that it is tested."""
    return size + np.repeat(0.01 * np.random.default_rng(seed).normal(size=FAMILIES), SIZE)


def befallen(base, rows, fates):
    """The candidate's evidence and observations after each claim met its fate."""
    made = base
    for place, (name, fate) in enumerate(fates.items()):
        of_claim = rows["claim"] == name
        if fate == "drop":
            made = replace(made, results=tuple(r for r in made.results if r.claim != name))
        elif fate == "skip":
            made = altered(made, name, outcome=Outcome.SKIPPED, verdict=None, reason="about x")
        elif fate == "error":
            made = altered(made, name, outcome=Outcome.ERROR, verdict=None, reason="no memory")
        elif fate == "counterexample":
            made = altered(made, name, counterexample=Counterexample("f1/0", -0.2))
        elif fate == "verdict":
            made = altered(made, name, verdict=Verdict.INCONCLUSIVE)
        elif fate == "region":
            other = mean.above(9).record()
            claims = [replace(c, prediction=other) if c.id == name else c for c in made.claims]
            made = replace(made, claims=tuple(claims))
        elif fate == "shift":
            rows = rows.copy()
            rows.loc[of_claim, "value"] += noisy(place, -5.0 if name == "gain.share" else 1.0)
        elif fate == "nan":
            rows = rows.assign(value=rows["value"].mask(of_claim & (rows["prompt"] == "f3/1")))
        elif fate == "rows":
            rows = rows[~of_claim]
    return made, rows


@FEW
@given(fates)
def test_each_claim_has_the_status_of_its_own_fate(fates):
    base, rows = evidence(PAIRED), observations(PAIRED)
    report = gate(base, *_swap(befallen(base, rows, fates), rows))
    assert {c.claim: c.status for c in report.changes} == {n: FATES[f] for n, f in fates.items()}
    assert len(report.changes) == len(PAIRED)
    assert report.exit_code == any(FATES[f] in FAILS for f in fates.values())
    assert report.family_size == len(PAIRED)
    tested = [c.p_adjusted is not None for c in report.changes]
    assert tested == [fates[c.claim] == "shift" for c in report.changes]


def _swap(candidate, rows):
    """Order of the gate's arguments: candidate, base's rows, candidate's rows."""
    return candidate[0], rows, candidate[1]


@FEW
@given(fates)
def test_what_the_base_lacks_is_new_and_gates_nothing(fates):
    """Seen from the other side: what one release lost, the other has anew."""
    other, rows = evidence(PAIRED), observations(PAIRED)
    base, base_rows = befallen(other, rows, fates)
    without = {n for n, f in fates.items() if f in ("drop", "skip", "error")}
    if without == set(PAIRED):
        return
    report = gate(base, other, base_rows, rows)
    status_of = {c.claim: c.status for c in report.changes}
    assert {n for n, s in status_of.items() if s is Status.NEW} == without
    expected = {"keep": Status.SAME, "counterexample": Status.SAME, "shift": Status.CHANGED,
                "nan": Status.UNDECIDED, "rows": Status.UNDECIDED}  # fmt: skip
    for name, fate in fates.items():
        if name not in without:
            assert status_of[name] is expected.get(fate, Status.SAME)
    assert report.exit_code == ("shift" in fates.values())
    # New claims are no part of the family that is corrected for.
    assert report.family_size == len(PAIRED) - len(without)


@FEW
@given(size=st.floats(-0.3, 0.3), seed=st.integers(0, 10**6))
def test_a_change_is_the_same_seen_from_either_side(size, seed):
    names = ("gain.mean", "gain.trend", "gain.ordered")
    rows = observations(names)
    shift = np.repeat(size + 0.05 * np.random.default_rng(seed).normal(size=FAMILIES), SIZE)
    other = observations(names, shifts={n: lambda block, _: shift * (block + 1) for n in names})
    there = gate(evidence(names), evidence(names), rows, other)
    back = gate(evidence(names), evidence(names), other, rows)
    for one, two in zip(there.changes, back.changes, strict=True):
        assert (one.claim, one.status, one.part) == (two.claim, two.status, two.part)
        assert one.change.value == pytest.approx(-two.change.value)
        assert one.change.low == pytest.approx(-two.change.high)
        assert one.p_adjusted == pytest.approx(two.p_adjusted)


@FEW
@given(seed=st.integers(0, 10**6))
def test_neither_results_nor_rows_have_an_order(seed):
    rng = np.random.default_rng(seed)
    base, rows = evidence(), observations()
    shifts = {"gain.mean": noisy(1, MARGIN), "gain.trend": lambda block, _: noisy(2, 0.1 * block)}
    other = observations(shifts=shifts)

    def shuffled(made, frame):
        results = [made.results[i] for i in rng.permutation(len(made.results))]
        return replace(made, results=tuple(results)), frame.iloc[rng.permutation(len(frame))]

    plain = gate(base, base, rows, other)
    (one, one_rows), (two, two_rows) = shuffled(base, rows), shuffled(base, other)
    again = gate(one, two, one_rows, two_rows)
    again_of = {c.claim: c for c in again.changes}
    assert len(again_of) == len(KINDS)
    for line in plain.changes:
        twin = again_of[line.claim]
        assert (twin.status, twin.part) == (line.status, line.part)
        assert twin.change.value == pytest.approx(line.change.value, abs=1e-12)
        assert twin.p_adjusted == pytest.approx(line.p_adjusted)
    assert {again_of["gain.mean"].status, again_of["gain.trend"].status} == {
        Status.UNDECIDED, Status.CHANGED,
    }  # fmt: skip
