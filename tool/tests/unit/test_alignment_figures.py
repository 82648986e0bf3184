"""Figures of alignment and probes: which seeds they show, and on which scales."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from refutable.evidence.rows import tidy
from refutable.observables.probing.token_labels import LABELS
from refutable.records import Environment, Evidence, ModelFacts, ModelReport, Outcome, Result
from refutable.report.figures import figures_for, style

SEEDS = {"layernorm-both": range(4), "none": range(1), "other": [None]}
MODELS = {
    f"twin-{group}-{seed}" if seed is not None else group: (group, seed)
    for group, seeds in SEEDS.items()
    for seed in seeds
}
REFERENCES = ("layernorm-both", "none", "gaussian")


def alignment(seed):
    random = np.random.default_rng(seed)
    return xr.DataArray(
        random.uniform(-0.2, 1, (2, 3, 2, 5)),
        dims=("estimator", "reference", "reference_layer", "layer"),
        coords={
            "estimator": ["debiased", "plain"], "reference": list(REFERENCES),
            "reference_layer": range(2), "layer": range(5),
        },
    )  # fmt: skip


def accuracy(seed):
    random = np.random.default_rng(seed)
    return xr.DataArray(
        random.uniform(0.3, 1, (5, 2, 6, 2)),
        dims=("label", "kind", "layer", "half"),
        coords={
            "label": list(LABELS), "kind": ["task", "control"], "layer": range(-1, 5),
            "half": range(2),
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    return {
        model: {"representation_alignment": alignment(place), "probe_accuracy": accuracy(place)}
        for place, model in enumerate(MODELS)
    }


@pytest.fixture(scope="module")
def specs(measured):
    common = {"claim": None, "control": None, "prompts": "battery", "arm": "no-bos"}
    frame = pd.concat(
        [
            tidy(array, None, {**common, "model": model, "quantity": name})
            for model, arrays in measured.items()
            for name, array in arrays.items()
        ],
        ignore_index=True,
    )
    reports = tuple(
        ModelReport(model, "twin", "w", "t", ModelFacts(
            model, "X", "LayerNorm", 5, 2, 8, 80, 40, 1, True, "learned", True, None, True,
            group=group if seed is not None else "", seed=seed,
        ))
        for model, (group, seed) in MODELS.items()
    )  # fmt: skip
    results = tuple(
        Result("ablation.x", "norm-ablation", "N7", "observational", m, "battery", "no-bos",
               Outcome.PASSED) for m in MODELS
    )  # fmt: skip
    environment = Environment("3.11", "linux", {}, "cpu", "float32")
    drawable, _ = figures_for(Evidence(environment, (), reports, (), results), frame)
    return {spec.name.split(".")[1]: spec for spec in drawable}


def drawn(spec):
    with style.styled():
        return spec.draw(spec.table)


def test_seed_0_stands_for_a_variant_only_where_it_is_alone(specs, measured):
    table = specs["alignment"].table.set_index(
        ["variant", "reference", "layer", "reference_layer"]
    )["value"]
    several = [measured[f"twin-layernorm-both-{s}"]["representation_alignment"] for s in (1, 2, 3)]
    for column, estimator in (("none", "debiased"), ("gaussian, plain form", "plain")):
        where = {"reference": column.split(",")[0], "estimator": estimator}
        wanted = np.mean([float(a.sel(where, drop=True)[1, 4]) for a in several])
        assert table["layernorm-both", column, 4, 1] == pytest.approx(wanted)
    lone = measured["twin-none-0"]["representation_alignment"].sel(estimator="debiased")
    assert table["none", "none", 3, 0] == pytest.approx(float(lone.sel(reference="none")[0, 3]))
    assert "none, plain form" not in table.index.get_level_values("reference")


def test_all_matrices_have_one_scale_and_say_their_mean(specs):
    spec = specs["alignment"]
    images = [a.images[0] for a in drawn(spec).axes if a.images and a.texts]
    assert len(images) == len(SEEDS) * (len(REFERENCES) + 1)
    assert {image.get_clim() for image in images} == {(0, 1)}
    shown = spec.table[(spec.table["variant"] == "other") & (spec.table["reference"] == "gaussian")]
    first = images[-2]
    assert np.asarray(first.get_array()).shape == (5, 2)
    assert first.axes.texts[0].get_text() == f"{shown['value'].mean():.2f}"
    labels = [image.axes.get_ylabel() for image in images]
    assert [label for label in labels if label] == [
        "layernorm-\nboth\nseeds 1 to 3", "none\nseed 0", "other"
    ]  # fmt: skip


def test_selectivity_is_task_minus_control_and_only_seeds_have_intervals(specs, measured):
    table = specs["probes"].table
    for variant, models in (("layernorm-both", list(MODELS)[:4]), ("other", ["other"])):
        part = table[(table["variant"] == variant) & (table["layer"] == 2)]
        actual = [measured[m]["probe_accuracy"].sel(layer=2).mean("half") for m in models]
        gaps = [float((a.sel(kind="task") - a.sel(kind="control")).mean()) for a in actual]
        last = part[part["label"].str.startswith("selectivity")].iloc[0]
        assert last["mean"] == pytest.approx(np.mean(gaps))
        task = part[(part["label"] == "bracket depth") & (part["kind"] == "control")].iloc[0]
        wanted = [float(a.sel(kind="control", label="bracket depth")) for a in actual]
        assert task["mean"] == pytest.approx(np.mean(wanted))
        assert np.isnan(task["low"]) == (variant == "other")
    axes = [axis for axis in drawn(specs["probes"]).axes if axis.get_visible()]
    assert len(axes) == 6
    assert axes[0].get_xticklabels()[0].get_text() == "emb."
