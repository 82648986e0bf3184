"""The gate between two releases, on written evidence with planted changes."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refutable.errors import EvidenceError
from refutable.gate import gate, run_gate
from refutable.gate_format import render
from refutable.gate_records import Status
from refutable.predictions import correlation, equals, every, mean, ordered, share, trend
from refutable.records import (
    ClaimReport,
    Counterexample,
    Environment,
    Estimate,
    Evidence,
    InstrumentCheck,
    ModelReport,
    Outcome,
    PromptSetReport,
    Result,
    Verdict,
)
from refutable.report.json import write
from refutable.report.observations import COLUMNS, write_observations
from refutable.stats.build import EXACT, T_FAMILIES

FAMILIES, SIZE = 12, 3
CALM = np.arange(FAMILIES * SIZE) % (2 * SIZE) < SIZE
"""Prompts of every other family."""
KINDS = {
    "gain.mean": mean.above(0.02),
    "gain.correlation": correlation.above(0.2),
    "gain.trend": trend().above(0.0),
    "gain.every": every.above(0.0),
    "gain.share": share.above(0.5, over=0.1),
    "gain.ordered": ordered("calm", "wild", by=0.1),
    "weights.count": equals(124.0),
}
MARGIN = 0.05


def claim_report(name, prediction, margin=MARGIN):
    return ClaimReport(
        name, "s", "r", "observational", "says", "refuted if", "q", prediction.says,
        prediction.region, margin=margin, sampled=prediction.sampled,
    )  # fmt: skip


def result(name, *, model="m", value=0.5, verdict=Verdict.CONFIRMED, **changes):
    exact = name.startswith("weights")
    estimate = Estimate(
        value, value - 0.1, value + 0.1, method=EXACT if exact else T_FAMILIES,
        clusters=0 if exact else FAMILIES, sd=None if exact else 0.2, p=None if exact else 0.01,
    )  # fmt: skip
    made = Result(
        name, "s", "r", "observational", model, "set", "no-bos", Outcome.PASSED, verdict,
        estimate=estimate, models=(model,),
    )  # fmt: skip
    return replace(made, **changes)


def evidence(names=tuple(KINDS), *, model="m", margin=MARGIN, **changes):
    made = Evidence(
        Environment("3.11", "linux", {}, "cpu", "float32"),
        tuple(claim_report(n, KINDS[n], margin) for n in names),
        (ModelReport(model, "local", "d", "t", None),),
        (PromptSetReport("set", "hash", FAMILIES * SIZE, FAMILIES),),
        tuple(result(n, model=model) for n in names),
    )
    return replace(made, **changes)


def rows(name, *, model="m", shift=0.0, families=FAMILIES, seed=0):
    """What a body returned: noise of sd .2 around .3, plus `shift` by prompt, block or family."""
    if name.startswith("weights"):
        return pd.DataFrame()
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    layers = range(6) if name == "gain.trend" else [None]
    family = np.repeat([f"f{i}" for i in range(families)], SIZE)
    frames = []
    for number, layer in enumerate(layers):
        for quantity in ("value", "value2") if name == "gain.correlation" else ("value",):
            moved = shift(number, quantity) if callable(shift) else shift
            frame = pd.DataFrame(
                {
                    "claim": name, "quantity": quantity, "model": model, "control": None,
                    "prompts": "set", "arm": "no-bos", "family": family, "layer": layer,
                    "prompt": [f"{f}/{i % SIZE}" for i, f in enumerate(family)],
                    "register": np.where(CALM[: family.size], "calm", "wild"),
                    "text": [f"text {i}" for i in range(family.size)],
                    "value": 0.3 + 0.2 * rng.normal(size=family.size) + moved,
                }
            )  # fmt: skip
            frames.append(frame)
    return pd.concat(frames)


def observations(names=tuple(KINDS), **how):
    shifts = how.pop("shifts", {})
    frames = [rows(n, shift=shifts.get(n, 0.0), **how) for n in names]
    whole = pd.concat(frames, ignore_index=True).reindex(columns=list(COLUMNS))
    kinds = dict.fromkeys(("layer", "head"), "Int64")
    return whole.astype(kinds | {c: "string" for c in COLUMNS if c not in (*kinds, "value")})


def statuses(report):
    return {change.claim: change.status for change in report.changes}


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


def _jitter(seed, sd, size):
    return sd * np.random.default_rng(seed).normal(size=size)


def test_p_is_holm_over_the_base_claims_of_the_paired_margin_test():
    names = ("gain.mean", "gain.every", "gain.share")
    moved = 0.1 + np.repeat(_jitter(1, 0.03, FAMILIES), SIZE)
    report = gate(
        evidence(names),
        evidence(names),
        observations(names),
        observations(names, shifts={"gain.mean": moved}),
    )
    line = report.changes[0]
    d = moved[::SIZE]
    se = d.std(ddof=1) / np.sqrt(FAMILIES)
    p = stats.t.sf((d.mean() - MARGIN) / se, 11) + stats.t.sf((d.mean() + MARGIN) / se, 11)
    assert report.family_size == 3
    assert line.p_adjusted == pytest.approx(3 * p)
    assert line.status is Status.CHANGED


def test_a_shift_about_the_margin_is_undecided_and_fails_strictly_only():
    names = ("gain.mean",)
    about = MARGIN + np.repeat(_jitter(2, 0.03, FAMILIES), SIZE)
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
            np.where(CALM, -0.2, 0.2) + np.repeat(_jitter(3, 0.01, FAMILIES), SIZE),
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


def test_a_changed_correlation_is_seen():
    names = ("gain.correlation",)
    rng = np.random.default_rng(4)
    family = np.repeat(np.arange(20), 6)
    x = rng.normal(size=120)

    def frame(y):
        made = pd.DataFrame(
            {
                "claim": names[0], "model": "m", "prompts": "set", "arm": "no-bos",
                "family": [f"f{i}" for i in family], "prompt": [f"p{i}" for i in range(120)],
            }
        )  # fmt: skip
        both = [made.assign(quantity=q, value=v) for q, v in (("value", x), ("value2", y))]
        return observations(()) if y is None else _typed(pd.concat(both))

    def _typed(made):
        whole = made.reindex(columns=list(COLUMNS))
        kinds = dict.fromkeys(("layer", "head"), "Int64")
        return whole.astype(kinds | {c: "string" for c in COLUMNS if c not in (*kinds, "value")})

    tight, loose = x + 0.3 * rng.normal(size=120), 0.3 * x + rng.normal(size=120)
    found = gate(evidence(names), evidence(names), frame(tight), frame(loose)).changes[0]
    assert found.status is Status.CHANGED
    assert found.part == "within families"
    assert found.change.value < -0.5


def test_missing_claim_is_lost():
    left = tuple(n for n in KINDS if n != "gain.trend")
    report = gate(evidence(), evidence(left), observations(), observations(left))
    bad = [c for c in report.changes if c.status is not Status.SAME]
    assert [(c.claim, c.status) for c in bad] == [("gain.trend", Status.LOST)]
    assert report.exit_code == 1


def _with(made, name, **changes):
    results = tuple(replace(r, **changes) if r.claim == name else r for r in made.results)
    return replace(made, results=results)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"outcome": Outcome.ERROR, "verdict": None, "reason": "packed"}, Status.INSTRUMENT),
        ({"outcome": Outcome.SKIPPED, "verdict": None, "reason": "about x"}, Status.LOST),
        ({"counterexample": Counterexample("f1/0", -0.2)}, Status.WITNESS),
    ],
)
def test_what_fails_beside_a_change(changes, status):
    candidate = _with(evidence(), "gain.every", **changes)
    report = gate(evidence(), candidate, observations(), observations())
    bad = [(c.claim, c.status) for c in report.changes if c.status is not Status.SAME]
    assert bad == [("gain.every", status)]
    assert report.exit_code == 1


def test_a_known_witness_is_not_news():
    made = _with(evidence(), "gain.every", counterexample=Counterexample("f1/0", -0.2))
    assert gate(made, made, observations(), observations()).exit_code == 0


def test_failed_check_of_a_model_is_told_once():
    check = InstrumentCheck("fidelity", False, detail="3 tensors ignored")
    model = replace(evidence().models[0], checks=(check,))
    candidate = replace(evidence(), models=(model,))
    report = gate(evidence(), candidate, observations(), observations())
    told = [c for c in report.changes if c.status is Status.INSTRUMENT]
    assert [(c.claim, c.reason) for c in told] == [("", "fidelity: 3 tensors ignored")]
    assert report.exit_code == 1


def test_moved_verdicts_are_listed_and_gate_nothing():
    candidate = _with(evidence(), "gain.mean", verdict=Verdict.INCONCLUSIVE)
    report = gate(evidence(), candidate, observations(), observations())
    assert report.exit_code == 0
    assert "verdict moved (gates nothing): gain.mean" in render(report)
    assert "confirmed to inconclusive" in render(report)


def test_facts_are_compared_by_value():
    moved = _with(evidence(), "weights.count", estimate=Estimate(125.0, 125.0, 125.0, method=EXACT))
    base = _with(evidence(), "weights.count", estimate=Estimate(124.0, 124.0, 124.0, method=EXACT))
    report = gate(base, moved, observations(), observations())
    line = next(c for c in report.changes if c.claim == "weights.count")
    assert (line.status, line.change.value, line.p_adjusted) == (Status.CHANGED, 1.0, None)


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
    near = _with(base, names[0], estimate=replace(base.results[0].estimate, value=0.55))
    far = _with(base, names[0], estimate=replace(base.results[0].estimate, value=1.5))
    for candidate, status in ((near, Status.UNDECIDED), (far, Status.CHANGED)):
        report = gate(base, candidate, None, None)
        assert report.changes[0].status is status
        assert "unpaired: no observations.parquet beside both evidence files" in report.notes


def test_margin_is_at_least_the_numerical_noise():
    names = ("gain.mean",)
    estimate = replace(evidence(names).results[0].estimate, error=0.04)
    noisy = _with(evidence(names, margin=0.01), names[0], estimate=estimate)
    shifted = observations(names, shifts={"gain.mean": 0.07})
    assert gate(noisy, noisy, observations(names), shifted).exit_code == 0
    exact = evidence(names, margin=0.01)
    assert gate(exact, exact, observations(names), shifted).exit_code == 1


def test_nothing_decided_is_nothing_to_judge():
    empty = replace(evidence(), results=())
    with pytest.raises(EvidenceError, match="nothing to compare"):
        gate(empty, evidence(), None, None)


def _written(folder, made, frame):
    folder.mkdir()
    write(made, folder / "evidence.json")
    if frame is not None:
        write_observations(frame, folder / "observations.parquet")
    return folder / "evidence.json"


def test_files_and_exit_codes(tmp_path):
    base = _written(tmp_path / "base", evidence(), observations())
    moved = _written(tmp_path / "moved", evidence(), observations(shifts={"gain.mean": 0.1}))
    text, code = run_gate(base, base, strict=True)
    assert (code, text.splitlines()[0]) == (
        0,
        "gate passed: 7 same (strict: every claim must be the same)",
    )
    text, code = run_gate(base, moved)
    assert code == 1
    failing = [line for line in text.splitlines() if line.startswith("CHANGED")]
    assert len(failing) == 1
    assert "gain.mean (m, set, no-bos)  +0.1" in failing[0]


@pytest.mark.parametrize("broken", ["evidence.json", "observations.parquet"])
def test_a_truncated_file_cannot_be_judged(tmp_path, broken):
    base = _written(tmp_path / "base", evidence(), observations())
    other = _written(tmp_path / "other", evidence(), observations())
    file = other.parent / broken
    file.write_bytes(file.read_bytes()[:-200])
    text, code = run_gate(base, other)
    assert code == 3
    assert text.startswith("cannot judge: ")
    assert broken in text
    assert "\n" not in text
    assert run_gate(base, tmp_path / "absent.json")[1] == 3


def test_formats():
    odd = _with(evidence(), "gain.every", outcome=Outcome.ERROR, verdict=None, reason="a|b\n<c>,%")
    report = gate(evidence(), odd, observations(), observations())
    markdown = render(report, "markdown")
    assert "| instrument failed | gain.every | m |  | a\\|b &lt;c&gt;,% |" in markdown
    content = json.loads(render(report, "json"))
    assert content["exit_code"] == 1
    assert {c["claim"]: c["status"] for c in content["changes"]}["gain.mean"] == "same"
    github = render(report, "github").splitlines()[0]
    assert github == (
        "::error title=instrument failed%3A gain.every (m%2C set%2C no-bos)::a|b%0A<c>,%25"
    )


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
        whole = pd.DataFrame(
            {"claim": "gain.mean", "quantity": "value", "model": members, "prompts": "set",
             "arm": "no-bos", "value": values}
        ).reindex(columns=list(COLUMNS))  # fmt: skip
        kinds = dict.fromkeys(("layer", "head"), "Int64")
        return whole.astype(kinds | {c: "string" for c in COLUMNS if c not in (*kinds, "value")})

    before = np.linspace(0, 1, 8)
    moved = gate(made, made, frame(before), frame(before + 0.2 + _jitter(5, 0.05, 8))).changes[0]
    assert moved.status is Status.CHANGED
    assert moved.change.families == 8
    still = gate(made, made, frame(before), frame(before + _jitter(5, 0.01, 8))).changes[0]
    assert still.status is Status.SAME
