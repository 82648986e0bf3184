"""How the gate pairs two releases: models, prompts and families that both runs have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from support.releases import altered, evidence, jitter, observations, statuses, typed

from refutable.gate import gate
from refutable.gate_records import Status


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
        return typed(
            pd.DataFrame(
                {"claim": "gain.mean", "quantity": "value", "model": members, "prompts": "set",
                 "arm": "no-bos", "value": values}
            )
        )  # fmt: skip

    before = np.linspace(0, 1, 8)
    moved = gate(made, made, frame(before), frame(before + 0.2 + jitter(5, 0.05, 8))).changes[0]
    assert moved.status is Status.CHANGED
    assert moved.change.families == 8
    still = gate(made, made, frame(before), frame(before + jitter(5, 0.01, 8))).changes[0]
    assert still.status is Status.SAME
