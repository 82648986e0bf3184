"""The figure of differences along training: means over seeds, with their interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refutable.records import (
    ClaimReport,
    Environment,
    Estimate,
    Evidence,
    ModelFacts,
    ModelReport,
    Outcome,
    PredictionRecord,
    Result,
)
from refutable.report.figures import style
from refutable.report.figures.registry import MissingDataError, Sample
from refutable.studies.norm_ablation.figures.along import TOKENS_A_STEP, along_training
from refutable.training.recipe import RECIPES

PAIR = ("none-trained", "layernorm-both-trained")
STEPS, SEEDS = (300, 600, 1200), range(4)


def model(group: str, seed: int) -> ModelReport:
    name = f"twin-{group}-{seed}"
    facts = ModelFacts(name, "Twin", "LayerNorm", 2, 3, 32, 80, 40, 1, True, "learned", True, None,
                       True, group=group, seed=seed)  # fmt: skip
    return ModelReport(name, "twin", "w", "t", facts)


def claim(
    name: str, ref: str, quantity: str, pair: tuple[str, str] = PAIR, kind: str = "contrast_along"
) -> ClaimReport:
    record = PredictionRecord(kind, {"names": pair, "low": 0.0})
    return ClaimReport(
        name, "norm-ablation", ref, "training", "says", "if", quantity, "sentence", record
    )


def sample(frame: pd.DataFrame, *claims: ClaimReport) -> Sample:
    models = tuple(model(group, seed) for group in PAIR for seed in SEEDS)
    results = tuple(
        Result(c.id, c.study, c.ref, c.kind, "pair", "battery", "no-bos", Outcome.PASSED)
        for c in claims
    )
    evidence = Evidence(
        Environment("3.11", "linux", {}, "cpu", "float32"), claims, models, (), results
    )
    return Sample("norm-ablation", "battery", "no-bos", evidence, results, frame)


def rows(name: str, values: np.ndarray) -> pd.DataFrame:
    """Values (group, seed, step, family)."""
    made = [
        {"claim": name, "quantity": "value", "model": f"twin-{group}-{seed}", "control": None,
         "family": f"f{f}", "at": f"step={step}", "value": values[g, seed, i, f]}
        for g, group in enumerate(PAIR)
        for seed in SEEDS
        for i, step in enumerate(STEPS)
        for f in range(values.shape[3])
    ]  # fmt: skip
    return pd.DataFrame(made)


def test_each_point_is_the_mean_difference_over_seeds():
    values = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    frame = pd.concat([rows("a.one", values), rows("a.two", values), rows("a.other", 2 * values)])
    # Two claims speak of one quantity, which is drawn once.
    claims = (
        claim("a.one", "N10", "entropy"), claim("a.two", "N10", "entropy"),
        claim("a.other", "N2", "distance"),
    )  # fmt: skip
    drawing = along_training(sample(frame, *claims))
    assert list(drawing.table["panel"].unique()) == ["N2: distance", "N10: entropy"]
    apart = (values[0] - values[1]).mean(axis=-1)
    of_panel = drawing.table[drawing.table["panel"] == "N10: entropy"]
    assert of_panel["tokens"].to_numpy() == pytest.approx(np.array(STEPS) * TOKENS_A_STEP / 1e6)
    assert of_panel["mean"].to_numpy() == pytest.approx(apart.mean(axis=0))
    half = stats.sem(apart, axis=0) * stats.t.isf(0.025, 3)
    assert (of_panel["high"] - of_panel["mean"]).to_numpy() == pytest.approx(half)
    assert set(of_panel["seeds"]) == {4}
    with style.styled():
        panels = drawing.draw(drawing.table).axes
    assert len([axis for axis in panels if axis.get_visible()]) == 2


def test_alignment_is_drawn_from_the_steps_that_its_claim_compared():
    pair = ("none-tuned", "layernorm-both-tuned")
    path = {300: (-0.1, -0.2, 0.0), 1200: (-0.3, -0.4, -0.2)}
    frame = pd.DataFrame([
        {"claim": "a.pairs", "quantity": "difference along training", "model": "pair",
         "control": None, "family": None, "at": f"step={step};end={end}", "value": value}
        for step, values in path.items()
        for end, value in zip(("value", "low", "high"), values, strict=True)
    ])  # fmt: skip
    one = claim("a.pairs", "N7", "alignment", pair, "across_along")
    made = sample(frame, one)
    estimate = Estimate(-0.1, -0.2, 0.0, 0.95, "alignment", "jackknife", 20, 44, seeds=5)
    results = tuple(replace(r, estimate=estimate) for r in made.results)
    table = along_training(replace(made, results=results)).table
    assert list(table["panel"].unique()) == ["N7, best rates: alignment"]
    assert table["tokens"].to_numpy() == pytest.approx(np.array(list(path)) * TOKENS_A_STEP / 1e6)
    assert table[["mean", "low", "high"]].to_numpy() == pytest.approx(np.array(list(path.values())))
    assert set(table["seeds"]) == {5}


def test_pairs_of_other_arms_have_panels_of_their_own():
    values = np.random.default_rng(1).normal(size=(2, 4, 3, 2))
    arms = {
        PAIR: "N1: entropy",
        ("none-tuned", "layernorm-both-trained"): "N1, best rates: entropy",
        ("none-tuned", "none-trained"): "N1, best rate minus shared: entropy",
        ("rmsnorm-both-trained", "layernorm-both-trained"): "N1, rmsnorm minus layernorm: entropy",
    }
    for pair, panel in arms.items():
        frame = rows("a.one", values)
        swapped = dict(zip(PAIR, pair, strict=True))
        frame["model"] = frame["model"].replace(
            {f"twin-{old}-{s}": f"twin-{new}-{s}" for old, new in swapped.items() for s in SEEDS}
        )
        made = sample(frame, claim("a.one", "N1", "entropy", pair))
        models = tuple(model(group, seed) for group in pair for seed in SEEDS)
        made = replace(made, evidence=replace(made.evidence, models=models))
        assert list(along_training(made).table["panel"].unique()) == [panel]


def test_without_a_pair_nothing_is_drawn():
    frame = rows("a.one", np.zeros((2, 4, 3, 2)))
    alone = frame[frame["model"].str.contains("layernorm")]
    with pytest.raises(MissingDataError, match="along training"):
        along_training(sample(alone, claim("a.one", "N1", "entropy")))


def test_a_step_has_as_many_tokens_in_every_recipe():
    assert {r.batch * r.context for r in RECIPES.values()} == {TOKENS_A_STEP}
