"""How the gate pairs two releases: models, prompts and families that both runs have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.releases import (
    FAMILIES,
    altered,
    evidence,
    jitter,
    numbers,
    observations,
    statuses,
)

from refutable.gate.compare import gate
from refutable.gate.records import Status
from refutable.predictions import share
from refutable.stats.build import AGREED


def test_a_renamed_model_is_paired_with_the_only_other():
    report = gate(
        evidence(model="old"),
        evidence(model="new"),
        observations(model="old"),
        observations(model="new", shifts={"gain.mean": 0.1}),
    )
    assert statuses(report)["gain.mean"] is Status.CHANGED
    assert statuses(report)["gain.every"] is Status.SAME
    assert "new is held against old" in report.notes


def test_prompts_of_the_same_name_and_another_text_are_not_paired():
    changed = observations(("gain.mean",))
    changed["text"] = changed["text"] + "!"
    names = ("gain.mean",)
    line = gate(evidence(names), evidence(names), observations(names), changed).changes[0]
    assert line.status is Status.UNDECIDED
    assert "share no prompt" in line.reason
    assert not line.paired


def test_fewer_than_five_shared_families_decide_nothing():
    names = ("gain.mean",)
    shift = 5 + np.arange(12) * 0.1
    few = observations(names, families=4), observations(names, families=4, shifts={names[0]: shift})
    line = gate(evidence(names), evidence(names), *few).changes[0]
    assert line.status is Status.UNDECIDED
    assert "4 families shared" in line.reason


def test_values_that_turn_nan_are_lost():
    names = ("gain.mean",)
    broken = observations(names)
    broken.loc[3, "value"] = np.nan
    line = gate(evidence(names), evidence(names), observations(names), broken).changes[0]
    assert line.status is Status.LOST
    assert "not finite" in line.reason


def test_unpaired_estimates_show_large_changes_only():
    names = ("gain.mean",)
    base = evidence(names)
    near = altered(base, names[0], estimate=replace(base.results[0].estimate, value=0.55))
    far = altered(base, names[0], estimate=replace(base.results[0].estimate, value=1.5))
    for candidate, status in ((near, Status.UNDECIDED), (far, Status.CHANGED)):
        report = gate(base, candidate, None, None)
        assert report.changes[0].status is status
        assert "unpaired: no observations.parquet beside both evidence files" in report.notes


def test_claims_over_several_models_compare_each_member():
    names, members = ("gain.mean",), ("a", "b")
    group = replace(evidence(names).results[0], model="a~b", models=members)
    made = replace(evidence(names), results=(group,))
    before = pd.concat([observations(names, model=m) for m in members])
    after = pd.concat(
        [observations(names, model="a"), observations(names, model="b", shifts={"gain.mean": 0.2})]
    )
    assert gate(made, made, before, before, strict=True).exit_code == 0
    line = gate(made, made, before, after).changes[0]
    assert (line.status, line.part) == (Status.CHANGED, "b")
    lost = gate(made, made, before, after[after["model"] == "a"]).changes[0]
    assert lost.status is Status.LOST


def test_one_number_a_model_takes_the_models_as_units():
    members = tuple(f"seed-{i}" for i in range(8))
    names = ("gain.mean",)
    group = replace(evidence(names).results[0], model="twins", models=members)
    made = replace(evidence(names), results=(group,))

    def frame(values):
        return numbers("gain.mean", dict(zip(members, values, strict=True)))

    before = np.linspace(0, 1, 8)
    moved = gate(made, made, frame(before), frame(before + 0.2 + jitter(5, 0.05, 8))).changes[0]
    assert moved.status is Status.CHANGED
    assert moved.change.families == 8
    still = gate(made, made, frame(before), frame(before + jitter(5, 0.01, 8))).changes[0]
    assert still.status is Status.SAME


def test_a_correlation_of_what_does_not_vary_alarms_nobody():
    names = ("gain.correlation",)
    rows = observations(names)
    flat = rows.assign(value=rows["value"].where(rows["quantity"] == "value", 0.1))
    for before, after in ((flat, flat), (flat, rows), (rows, flat)):
        report = gate(evidence(names), evidence(names), before, after)
        assert [c.status for c in report.changes] == [Status.UNDECIDED]
        assert report.changes[0].p_adjusted == 1.0
        assert report.exit_code == 0


@pytest.mark.parametrize("blocks", ["one", "none shared"])
def test_profiles_without_a_slope_are_undecided(blocks):
    names = ("gain.trend",)
    rows = observations(names)
    if blocks == "one":
        rows = rows[rows["layer"] == 2]
    else:  # Every prompt lacks another block.
        lacking = rows["prompt"].str[-1].astype(int)
        rows = rows.assign(value=rows["value"].mask(rows["layer"] == lacking))
    report = gate(evidence(names), evidence(names), rows, rows)
    assert report.changes[0].status is Status.UNDECIDED
    assert report.changes[0].p_adjusted == (1.0 if blocks == "one" else None)
    assert report.exit_code == 0


@pytest.mark.parametrize(("moved", "status"), [(0.04, Status.SAME), (0.06, Status.CHANGED)])
def test_a_fact_moves_when_it_leaves_the_margin(moved, status):
    names = ("weights.count",)
    one = gate(
        evidence(names),
        evidence(names),
        numbers("weights.count", {"m": 3.0}),
        numbers("weights.count", {"m": 3 - moved}),
    ).changes[0]
    assert one.status is status
    assert one.change.value == pytest.approx(-moved)
    # Facts of several models are no sample of them: the one that moved most tells.
    members = ("a", "b", "c")
    result = replace(evidence(names).results[0], model="a~b~c", models=members)
    made = replace(evidence(names), results=(result,))
    before = numbers("weights.count", dict.fromkeys(members, 3.0))
    after = numbers("weights.count", {"a": 3.01, "b": 3 - moved, "c": 3.0})
    line = gate(made, made, before, after).changes[0]
    assert (line.status, line.p_adjusted) == (status, None)
    assert line.change.value == pytest.approx(-moved)


def test_numbers_of_seeds_that_moved_alike():
    names, members = ("gain.mean",), tuple(f"seed-{i}" for i in range(8))
    estimate = replace(evidence(names).results[0].estimate, error=0.01)
    result = replace(evidence(names).results[0], model="twins", models=members, estimate=estimate)
    made = replace(evidence(names), results=(result,))

    def rows(shift):
        values = {m: i + shift * (1 + i % 2 / 100) for i, m in enumerate(members)}
        return numbers("gain.mean", values)

    line = gate(made, made, rows(0.0), rows(0.2)).changes[0]
    assert line.status is Status.CHANGED
    # Eight seeds can hide some that did not move.
    assert 0 < line.p_adjusted < 0.01
    assert gate(made, made, rows(0.0), rows(0.0)).changes[0].p_adjusted is None


@pytest.mark.parametrize(("hits", "status"), [(0, Status.SAME), (2, Status.CHANGED)])
def test_a_share_of_what_holds_or_not_counts_what_holds(hits, status):
    names = ("gain.share",)
    claim = replace(evidence(names).claims[0], prediction=share.above(0.5).record())
    made = replace(evidence(names), claims=(claim,))
    held = observations(names)
    held["value"] = np.tile([1.0, 0.0, 0.0], FAMILIES)
    later = held.assign(value=np.tile([1.0, float(hits > 0), float(hits > 1)], FAMILIES))
    line = gate(made, made, held, later).changes[0]
    assert (line.status, line.change.value) == (status, pytest.approx(hits / 3))


def test_how_many_prompts_were_paired_is_said_unless_it_is_all():
    names = ("gain.mean",)
    rows = observations(names)
    pairs = evidence(names), evidence(names)
    assert "paired" not in gate(*pairs, rows, rows).changes[0].reason
    fewer = gate(*pairs, rows, rows[rows["family"] != "f3"]).changes[0]
    assert fewer.reason.endswith("33 of 36 prompts paired")


def test_of_several_models_the_one_that_moved_most_surely_is_told():
    names, members = ("gain.mean",), ("a", "b", "c")
    result = evidence(names).results[0]
    noisy = replace(result.estimate, error=1e-6)
    group = replace(result, model="a~b~c", models=members, estimate=noisy)
    made = replace(evidence(names), results=(group,))
    before = pd.concat([observations(names, model=m) for m in members])
    shifts = dict(zip(members, (0.1, -0.3, 0.2), strict=True))
    after = pd.concat(
        [observations(names, model=m, shifts={"gain.mean": s}) for m, s in shifts.items()]
    )
    line = gate(made, made, before, after).changes[0]
    assert (line.status, line.part) == (Status.CHANGED, "b")
    assert line.p_adjusted < 1e-6
    assert line.change.value == pytest.approx(-0.3)


def test_a_part_of_few_families_does_not_speak_for_the_others():
    names, members = ("gain.mean",), ("a", "b")
    group = replace(evidence(names).results[0], model="a~b", models=members)
    made = replace(evidence(names), results=(group,))
    # The model of four families moves most surely, that of twelve is tested.
    few = {"families": 4, "model": "a"}
    before = pd.concat([observations(names, **few), observations(names, model="b")])
    moved = 0.3 + np.repeat(jitter(7, 0.1, FAMILIES), 3)
    surely = 5 + np.repeat(jitter(8, 0.001, 4), 3)
    after = pd.concat(
        [
            observations(names, shifts={"gain.mean": surely}, **few),
            observations(names, model="b", shifts={"gain.mean": moved}),
        ]
    )
    line = gate(made, made, before, after).changes[0]
    assert (line.status, line.part) == (Status.CHANGED, "b")
    assert line.change.families == FAMILIES


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.CHANGED),
        # No p and families: prompts that agree, whose spread between releases is not known.
        ({"p": None, "method": AGREED, "sd": None}, Status.UNDECIDED),
        ({"method": "Fisher z"}, Status.UNDECIDED),
        ({"sd": None}, Status.UNDECIDED),
        ({"clusters": 1}, Status.UNDECIDED),
    ],
    ids=["means", "fact of families", "another method", "no spread", "one family"],
)
def test_without_prompts_only_means_with_a_spread_are_compared(changes, status):
    names = ("gain.mean",)
    base = evidence(names)
    estimate = replace(base.results[0].estimate, value=9.0, **changes)
    for sides in ((base, altered(base, names[0], estimate=estimate)),
                  (altered(base, names[0], estimate=estimate), base)):  # fmt: skip
        line = gate(*sides, None, None).changes[0]
        assert (line.status, line.paired) == (status, False)


def test_units_are_those_of_the_statistic():
    names = ("gain.mean", "gain.correlation")
    made = evidence(names)
    results = [replace(r, estimate=replace(r.estimate, unit="log ratio")) for r in made.results]
    made = replace(made, results=tuple(results))
    report = gate(made, made, observations(names), observations(names))
    assert [c.unit for c in report.changes] == ["log ratio", "Fisher z"]


def test_a_claim_without_a_margin_says_whether_it_moved_at_all():
    names = ("weights.count",)
    made = evidence(names, margin=None)
    before = made.results[0].estimate
    for value, reason in ((before.value, "unchanged"), (before.value + 1, "a fact that moved")):
        later = altered(made, names[0], estimate=replace(before, value=value))
        assert gate(made, later, None, None).changes[0].reason == reason
