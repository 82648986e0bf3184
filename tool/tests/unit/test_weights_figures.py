"""Figures of the gpt2-weights study: all can be drawn, and they draw what was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from refutable.errors import NotAvailableError
from refutable.evidence.rows import tidy
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.records import (
    Environment,
    Evidence,
    ModelFacts,
    ModelReport,
    Outcome,
    Result,
)
from refutable.report.figures import figures_for, style
from refutable.report.figures.render import render

MODELS = ("small", "wide")
FIGURES = {
    "parameters",
    "size-by-depth",
    "weight-histogram",
    "weight-maps",
    "depth-statistics",
    "row-variances",
    "position-table",
    "position-dimensions",
    "position-variances",
    "adjacent-positions",
    "cumulative-variance",
    "component-scatter",
    "query-heads",
    "head-trees",
    "against-untrained",
}


def _reader(width, heads, blocks, seed):
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=width, n_head=heads, n_layer=blocks, vocab_size=80, n_positions=40,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    return WeightReader.from_state_dict(model.state_dict(), config)


@pytest.fixture(scope="module")
def measured():
    readers = {"small": _reader(32, 4, 3, 0), "wide": _reader(48, 6, 5, 1)}
    arrays = {}
    for model, reader in readers.items():
        for item in REGISTRY:
            if item.weights is None:
                continue
            try:
                arrays[model, item.name] = item.weights(reader)
            except NotAvailableError:  # nothing of GPT-2's form lacks anything
                raise AssertionError(item.name) from None
    return arrays


@pytest.fixture(scope="module")
def frame(measured):
    common = {"claim": None, "control": None, "prompts": "battery", "arm": "no-bos"}
    return pd.concat(
        [
            tidy(array, None, {**common, "model": model, "quantity": name})
            for (model, name), array in measured.items()
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def evidence():
    def report(name, parameters):
        facts = ModelFacts(
            name, "GPT2LMHeadModel", "LayerNorm", 3, 4, 32, 80, 40, parameters, True, "learned",
            True, None, False,
        )  # fmt: skip
        return ModelReport(name, "local", "w", "t", facts)

    results = tuple(
        Result("weights.x", "gpt2-weights", "W1", "weights", m, "battery", "no-bos", Outcome.PASSED)
        for m in MODELS
    )
    return Evidence(
        Environment("3.11", "linux", {}, "cpu", "float32"),
        (),
        (report("small", 1), report("wide", 2)),
        (),
        results,
    )


@pytest.fixture(scope="module")
def specs(evidence, frame):
    drawable, omitted = figures_for(evidence, frame)
    assert not [o for o in omitted if o.study == "gpt2-weights"]
    return {s.name.split(".")[1]: s for s in drawable}


def _drawn(spec):
    with style.styled():
        return spec.draw(spec.table)


def test_all_figures_are_written(specs, tmp_path):
    assert set(specs) == FIGURES
    written = render(tuple(specs.values()), tmp_path, "2026-01-01")
    assert all((tmp_path / item.png).stat().st_size > 5000 for item in written)


def test_bars_of_parameters_are_shares(specs, measured):
    axes = _drawn(specs["parameters"]).axes
    for axis, model in zip(axes, MODELS, strict=True):
        counts = measured[model, "parameter_count"]
        expected = (counts / counts.sum()).where(counts > 0, drop=True)
        np.testing.assert_allclose([bar.get_width() for bar in axis.patches], expected)
        assert axis.get_title(loc="left").endswith(f"{int(counts.sum()):,}")


def test_tied_tensors_are_named(specs):
    assert "Tied: small transformer.wte.weight = lm_head.weight" in specs["parameters"].caption


def test_lines_over_depth_are_the_statistics(specs, measured):
    axis = _drawn(specs["depth-statistics"]).axes[1]  # sd, of the largest model
    lines = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    assert set(lines) == {"q", "k", "v", "o", "in", "out"}
    expected = measured["wide", "weight_statistics"].sel(statistic="sd", matrix="k")
    np.testing.assert_allclose(lines["k"], expected)


def test_maps_show_every_row_and_column(specs, measured):
    axes = [a for a in _drawn(specs["weight-maps"]).axes if a.collections and a.get_ylabel()]
    axis = next(a for a in axes if a.get_title(loc="left") == "wide, block 4, whole")
    expected = measured["wide", "attention_input_map"].sel(layer=4)
    drawn = np.asarray(axis.collections[0].get_array())
    np.testing.assert_allclose(drawn.reshape(expected.shape), expected)


def test_trees_are_ward_trees_of_the_distances(specs, measured):
    from scipy.cluster.hierarchy import ward
    from scipy.spatial.distance import squareform

    axis = _drawn(specs["head-trees"]).axes[2]
    distances = measured["wide", "head_distance"].sel(operator="qk", layer=2)
    heights = ward(squareform(distances.values, checks=False))[:, 2]
    drawn = [max(line.get_ydata()) for line in axis.get_lines()]
    np.testing.assert_allclose(sorted(drawn), sorted(heights))
    assert axis.get_ylim()[1] >= max(heights)


def test_views_are_in_standard_deviations_of_the_copies(specs, measured):
    table = specs["against-untrained"].table
    row = table[
        (table["model"] == "small") & (table["view"] == "row_spread") & (table["kind"] == "model")
    ]
    of_model = float(measured["small", "weight_views"].sel(view="row_spread"))
    copies = measured["small", "untrained_weight_views"].sel(view="row_spread").values
    expected = (of_model - copies.mean()) / copies.std(ddof=1)
    assert float(row["deviation"].iloc[0]) == pytest.approx(expected)


def test_a_quantity_that_was_not_measured_is_said(evidence, frame):
    without = frame[frame["quantity"] != "head_distance"]
    drawable, omitted = figures_for(evidence, without)
    reasons = {o.name.split(".")[1]: o.reason for o in omitted}
    assert reasons == {"head-trees": "no head_distance of the models was measured"}
    assert len(drawable) == len(FIGURES) - 1
