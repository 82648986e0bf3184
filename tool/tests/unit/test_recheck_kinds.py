"""Every kind of estimate, with its control, made again from the rows that a run leaves of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.bodies import CLAIMS
from support.releases import claim_report, result, typed

from refutable.evaluation.evaluate import Evaluation, decide
from refutable.evaluation.observation_log import ObservationLog
from refutable.evaluation.outcome import CellOutcome
from refutable.evidence.json import write
from refutable.evidence.observations import write_observations
from refutable.evidence.rows import named_arrays, tidy
from refutable.gate.again import Observed
from refutable.gate.recheck import recheck_run
from refutable.predictions import (
    Measured,
    contrast,
    contrast_along,
    correlation,
    cross_similarity,
    each_seed,
    equals,
    every,
    mean,
    ordered,
    over_seeds,
    share,
    trend,
)
from refutable.predictions.base import NullControl
from refutable.predictions.seed_pairs import Likeness
from refutable.records import Environment, Evidence, ModelFacts, ModelReport, PromptSetReport
from refutable.spec.cell import Cell
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

FAMILIES, SEEDS, COPIES = 8, 6, 5


def array(seed, *dims, level=0.3):
    """Values of prompts in families of two, around a level of each family."""
    rng = np.random.default_rng(seed)
    families = np.repeat([f"f{i}" for i in range(FAMILIES)], 2)
    sizes = [{"layer": 6, "step": 3}[dim] for dim in dims]
    table = level + 0.2 * rng.normal(size=(families.size, *sizes))
    coords = {"prompt": [f"{f}/{i % 2}" for i, f in enumerate(families)],
              "family": ("prompt", families)}  # fmt: skip
    coords |= {"layer": range(6)} if "layer" in dims else {}
    made = xr.DataArray(table, dims=("prompt", *dims), coords=coords)
    if "step" not in dims:
        return made
    known = {"step": [1, 2, 4], "tokens": ("step", [10.0, 20.0, 40.0]),
             "loss": ("step", [4.0, 3.5 - seed / 100, 3.0])}  # fmt: skip
    return made.assign_coords(known)


def number(seed):
    return xr.DataArray(float(np.random.default_rng(seed).normal()))


def groups(make, *names, seeds=SEEDS):
    return {n: {s: make(100 * i + s) for s in range(seeds)} for i, n in enumerate(names)}


def copies(make, *names):
    return tuple({n: {k: make(900 + 50 * i + k)} for i, n in enumerate(names)}
                 for k in range(COPIES))  # fmt: skip


LIKE = Likeness(
    lambda values, left_out: np.sort(values.values)[slice(left_out, None)][-6:],
    lambda values: FAMILIES,
)
SINGLE = {
    "mean": (mean.above(0.1), array(1)),
    "mean of shares": (mean.above(0.1), (array(2) > 0.3) * 1.0),
    "share": (share.above(0.4, over=0.3), array(3)),
    "trend": (trend(over="layer").above(0.0), array(4, "layer")),
    "correlation": (correlation.above(0.1), (array(5), array(5) + 0.5 * array(6))),
    "every": (every.above(-5.0), array(7, "layer")),
    "equals": (equals(3.0), xr.DataArray(3.0)),
    "against its control": (mean.above(0.02).against_control(), array(8)),
}
GROUPED = {
    "contrast": (contrast("a", "b").above(0.0), array),
    "contrast of numbers": (contrast("a", "b").above(0.0), number),
    "over seeds": (over_seeds("a").above(0.0), array),
    "each seed": (each_seed("a").above(-9.0), number),
    "ordered": (ordered("a", "b", "c", over="models", by=0.02), array),
    "along training": (contrast_along("a", "b").above(0.0), lambda s: array(s, "step")),
    "at a loss": (contrast_along("a", "b", loss=3.3).above(0.0), lambda s: array(s, "step")),
    "likeness": (cross_similarity("a", "b", kernel=LIKE).below(0.0), array),
}


def facts(model, group, seed):
    return ModelFacts(model, "A", "n", 2, 2, 8, 9, 9, 9, True, "none", False, None, False,
                      group=group, seed=seed)  # fmt: skip


def rows_of(values, model, control=None):
    common = {"claim": "c", "model": model, "prompts": "set", "arm": "no-bos", "control": control}
    return [
        tidy(one, None, {**common, "quantity": name}) for name, one in named_arrays(values).items()
    ]


def leave(folder, prediction, measured, null, frames, models):
    """Leave a run of one claim, judged as a run judges it."""
    judged = prediction.judge(measured, null)
    control = prediction.read_control(measured, null) if null else None
    name = "a~b" if prediction.grouped else "m"
    made = replace(
        result("c", model=name, verdict=judged.decision.verdict), estimate=judged.estimate,
        parts=judged.parts, control=control, models=tuple(m.id for m in models),
    )  # fmt: skip
    claim = replace(claim_report("c", prediction), sesoi=0.05)
    reports = tuple(ModelReport(m.id, "twin", "d", "t", m) for m in models)
    sets = (PromptSetReport("set", "hash", 2 * FAMILIES, FAMILIES),)
    environment = Environment("3.11", "linux", {}, "cpu", "float32")
    evidence = Evidence(environment, (claim,), reports, sets, (made,))
    write(evidence, folder / "evidence.json")
    write_observations(typed(pd.concat(frames, ignore_index=True)), folder / "observations.parquet")
    return evidence


def single(folder, kind):
    prediction, values = SINGLE[kind]
    null, frames = None, rows_of(values, "m")
    if kind not in ("every", "equals"):
        of_copies = tuple(
            tuple(array(60 + 2 * k + i) for i in range(2)) if isinstance(values, tuple)
            else array(60 + k, *values.dims[1:], level=0.0)
            for k in range(COPIES)
        )  # fmt: skip
        null = NullControl("untrained", ("copy",) * COPIES, of_copies, 0.05)
        for k, one in enumerate(of_copies):
            frames += rows_of(one, "m", f"untrained-{k}")
    measured = Measured(values, 1e-6, 0, "nats")
    return leave(folder, prediction, measured, null, frames, [facts("m", "", None)])


def grouped(folder, kind):
    prediction, make = GROUPED[kind]
    values = groups(make, *prediction.names)
    models = [facts(f"{n}-{s}", n, s) for n, members in values.items() for s in members]
    frames = [f for n, of in values.items() for s, v in of.items() for f in rows_of(v, f"{n}-{s}")]
    for quantity, one in prediction.rests_on(values).items():
        common = {"claim": "c", "model": "a~b", "prompts": "set", "arm": "no-bos",
                  "control": None, "quantity": quantity}  # fmt: skip
        frames.append(tidy(one, None, common))
    null = None
    if kind in ("contrast", "over seeds", "contrast of numbers"):
        of_copies = copies(make, *prediction.names)
        null = NullControl("untrained", ("copy",) * COPIES, of_copies, 0.05)
        for copy in of_copies:
            for name, members in copy.items():
                for place, one in members.items():
                    frames += rows_of(one, f"{name}-0", f"untrained-{place}")
    return leave(folder, prediction, Measured(values, 1e-6, 0, "nats"), null, frames, models)


CASES = [(single, kind) for kind in SINGLE] + [(grouped, kind) for kind in GROUPED]


@pytest.mark.parametrize(
    ("make", "kind"), CASES, ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_a_run_recorded_follows_from_its_rows_and_what_was_altered_does_not(
    make, kind, tmp_path
):
    evidence = make(tmp_path, kind)
    checked = recheck_run(tmp_path)
    assert (checked.recomputed, checked.wrong) == (1, ()), checked.lines()
    (made,) = evidence.results
    assert checked.controls == (made.control is not None)
    if made.estimate.value is None:
        *rest, last = made.parts
        other = replace(made, parts=(*rest, replace(last, value=last.value + 1e-3)))
    else:
        other = replace(made, estimate=replace(made.estimate, value=made.estimate.value + 1e-3))
    write(replace(evidence, results=(other,)), tmp_path / "evidence.json")
    assert "follows" in recheck_run(tmp_path).wrong[0]
    if made.control is not None and made.control.contrast is not None:
        contrast_of = replace(made.control.contrast, low=made.control.contrast.low - 1e-3)
        other = replace(made, control=replace(made.control, contrast=contrast_of))
        write(replace(evidence, results=(other,)), tmp_path / "evidence.json")
        assert "model minus control: low" in recheck_run(tmp_path).wrong[0]


def test_every_copy_that_a_placebo_returns_is_kept_and_read_again(tmp_path):
    claim = CLAIMS["literature.heavy-tails"]
    numbers = tuple(xr.DataArray(float(k) / 20) for k in range(19))
    null = NullControl("placebo", tuple(f"m@placebo-{k}" for k in range(19)), numbers, claim.sesoi)
    measured = Measured(xr.DataArray(0.9), 0.0, 0, claim.unit)
    judged, control = decide(claim, measured, null)
    evaluation = Evaluation(xr.DataArray(0.9), numbers, judged, control, None, 0.0)
    cell = Cell("m", ("m",), "five-registers", "no-bos")
    harness = SimpleNamespace(arrays=lambda model: {})
    log = ObservationLog(harness, PromptLibrary([fixtures()]), tmp_path, "run", is_worker=False)
    log.keep(CellOutcome(cell, claim, evaluation))
    frame = log.gather()
    assert frame["control"].dropna().nunique() == 19
    made = replace(
        result(claim.id, model="m", verdict=judged.decision.verdict), estimate=judged.estimate,
        control=control, prompts=str(frame["prompts"].iloc[0]), models=("m",),
    )  # fmt: skip
    report = replace(claim_report(claim.id, claim.predicts), sesoi=claim.sesoi, sampled=False)
    evidence = Evidence(Environment("3.11", "linux", {}, "cpu", "float32"), (report,), (), (),
                        (made,))  # fmt: skip
    again = Observed(evidence, frame).judge(made)
    assert again.control == control
    # A run that kept one copy says nothing of the others: its control is left alone.
    few = frame[frame["control"].isna() | (frame["control"] == "placebo-0")]
    again = Observed(evidence, few).judge(made)
    assert again.control is None
    assert again.judgement is not None
