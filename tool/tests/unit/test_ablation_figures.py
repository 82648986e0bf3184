"""Figures of the norm-ablation study: they draw what was measured, on common scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from refutable.evidence.rows import tidy
from refutable.records import Environment, Evidence, ModelFacts, ModelReport, Outcome, Result
from refutable.report.figures import figures_for, style
from refutable.report.figures.render import render
from refutable.spec.prompts import Prompt, PromptSet

MODELS = {f"twin-layernorm-both-{s}": ("layernorm-both", s) for s in range(4)}
MODELS["twin-none-0"] = ("none", 0)
DOCUMENTS = [f"document-{i:02d}" for i in range(6)]
FIGURES = {
    "activations", "weights", "gradients", "robustness", "attention-heads", "attention-blocks",
    "landscape-curves", "landscape-surface",
}  # fmt: skip
PROMPTS = PromptSet(
    name="battery",
    prompts=tuple(
        Prompt(id=f"{family}/{i}", family=family, text=f"{family} {i}")
        for family in ("f", "g", "h", "i")
        for i in range(2)
    ),
    families={family: {} for family in ("f", "g", "h", "i")},
    content_hash="x",
)


def labelled(values, **coords):
    return xr.DataArray(values, dims=tuple(coords), coords=coords)


def attention(random):
    weights = np.tril(random.random((2, 3, 5, 5)) + 0.1)
    weights /= weights.sum(-1, keepdims=True)
    return labelled(weights, layer=range(2), head=range(3), query=range(5), key=range(5))


def arrays(model, seed):
    random = np.random.default_rng([seed, model == "twin-none-0"])
    ids = [p.id for p in PROMPTS.prompts]
    blocks = {"layer": range(2)}
    made = {
        "attention_map": attention(random),
        "residual_log_variance": labelled(random.normal(size=(8, 2)), prompt=ids, **blocks),
        "relative_gradient_norm": labelled(random.normal(size=(6, 2)), text=DOCUMENTS, **blocks),
        "noisy_loss": labelled(
            4 + random.random((2, 4, 6)), noise=["words", "characters"], rate=[0.0, 0.05, 0.1, 0.2],
            text=DOCUMENTS,
        ),
        "weight_statistics": labelled(
            random.random((5, 2, 6)), statistic=["mean", "sd", "skewness", "excess_kurtosis", "ks"],
            **blocks, matrix=["q", "k", "v", "o", "in", "out"],
        ),
    }  # fmt: skip
    if seed == 0:
        steps = [-0.4, 0.0, 0.4]
        made["landscape_curve"] = labelled(
            random.random((2, 3)) * [1, 0, 1], direction=range(2), step=steps
        )
        surface = random.random((3, 3)) + 0.1
        surface[1, 1] = 0.0
        made["landscape_surface"] = labelled(surface, first=steps, second=steps)
    return made


@pytest.fixture(scope="module")
def measured():
    return {(m, name): a for m, (_, s) in MODELS.items() for name, a in arrays(m, s).items()}


@pytest.fixture(scope="module")
def frame(measured):
    common = {"claim": None, "control": None, "prompts": "battery"}
    parts = [
        tidy(array, PROMPTS, {**common, "arm": arm, "model": model, "quantity": name})
        for (model, name), array in measured.items()
        for arm in ("no-bos", "bos")
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def evidence():
    def report(name, group, seed):
        facts = ModelFacts(
            name, "TwinLMHeadModel", "LayerNorm", 2, 3, 32, 80, 40, 1, True, "learned",
            True, None, True, group=group, seed=seed,
        )  # fmt: skip
        return ModelReport(name, "twin", "w", "t", facts)

    results = tuple(
        Result("ablation.x", "norm-ablation", "N1", "observational", m, "battery", arm,
               Outcome.PASSED)
        for m in MODELS
        for arm in ("no-bos", "bos")
    )  # fmt: skip
    reports = tuple(report(m, *facts) for m, facts in MODELS.items())
    return Evidence(Environment("3.11", "linux", {}, "cpu", "float32"), (), reports, (), results)


@pytest.fixture(scope="module")
def figures(evidence, frame):
    return figures_for(evidence, frame)


@pytest.fixture(scope="module")
def specs(figures):
    return {s.name.split(".")[1]: s for s in figures[0] if not s.name.endswith(".bos")}


def drawn(spec):
    with style.styled():
        return spec.draw(spec.table)


def test_all_figures_are_written(specs, tmp_path):
    assert set(specs) >= FIGURES
    kept = [specs[name] for name in sorted(FIGURES)]
    written = render(kept, tmp_path, "2026-01-01")
    assert all((tmp_path / item.png).stat().st_size > 5000 for item in written)


def test_what_no_prompt_has_a_part_in_is_drawn_in_one_arm(figures):
    drawable, omitted = figures
    second = {s.name.split(".")[1] for s in drawable if s.name.endswith(".bos")}
    assert second == {"activations"}
    names = [s.name for s in drawable]
    # Neither prompts nor an arm had a part in them: their names have none, and nothing is missing.
    for name in FIGURES - second:
        assert names.count(f"norm-ablation.{name}") == 1
    assert [o.name for o in omitted if o.name.split(".")[1] in FIGURES] == []


def images(spec):
    return [image for axis in drawn(spec).axes for image in axis.get_images()]


def test_all_attention_maps_have_one_colour_scale(specs):
    heads, blocks = images(specs["attention-heads"]), images(specs["attention-blocks"])
    assert (len(heads), len(blocks)) == (2 * 4, 2)
    levels = np.linspace(0, 1, 21)
    colors = [image.cmap(image.norm(levels)) for image in (*heads, *blocks)]
    for other in colors[1:]:
        np.testing.assert_array_equal(colors[0], other)
    assert {image.norm.vmax for image in (*heads, *blocks)} == {1}


def test_of_several_models_the_most_uneven_heads_are_drawn(specs, measured):
    with_image = [a for a in drawn(specs["attention-heads"]).axes if a.get_images()]
    maps = measured["twin-none-0", "attention_map"]
    spread = np.arange(1, 6)[:, None]
    nats = {
        (layer, head): np.sum(weights * np.log(np.maximum(weights, 1e-12) * spread)) / 4
        for layer in range(2)
        for head in range(3)
        for weights in [np.tril(maps.sel(layer=layer, head=head).values)]
    }
    expected = sorted(nats, key=lambda key: -nats[key])[:4]
    shown_of = with_image[4:]
    assert [axis.get_xlabel() for axis in shown_of] == [
        f"{layer}.{head}: {nats[layer, head]:.2f}" for layer, head in expected
    ]
    below = np.tril_indices(5)
    for axis, (layer, head) in zip(shown_of, expected, strict=True):
        shown = np.ma.filled(axis.get_images()[0].get_array(), np.nan)
        np.testing.assert_allclose(shown[below], maps.sel(layer=layer, head=head).values[below])
        assert np.isnan(shown[np.triu_indices(5, 1)]).all()


def test_a_mosaic_of_one_model_holds_every_head_and_masks_the_future(evidence, frame, measured):
    alone = replace(
        evidence,
        models=tuple(m for m in evidence.models if m.id == "twin-none-0"),
        results=tuple(r for r in evidence.results if r.model == "twin-none-0"),
    )
    specs, _ = figures_for(alone, frame[frame["model"] == "twin-none-0"])
    spec = next(s for s in specs if "attention-heads" in s.name)
    mosaic = np.asarray(images(spec)[0].get_array().filled(np.nan))
    expected = measured["twin-none-0", "attention_map"]
    assert mosaic.shape == (2 * 6 - 1, 3 * 6 - 1)
    for layer in range(2):
        for head in range(3):
            cell = mosaic[6 * layer : 6 * layer + 5, 6 * head : 6 * head + 5]
            of_head = expected.sel(layer=layer, head=head).values
            np.testing.assert_allclose(cell[np.tril_indices(5)], of_head[np.tril_indices(5)])
            assert np.isnan(cell[np.triu_indices(5, 1)]).all()


def test_means_over_heads_and_over_everything(specs, measured):
    mosaic = np.asarray(images(specs["attention-blocks"])[0].get_array().filled(np.nan))
    maps = measured["twin-layernorm-both-0", "attention_map"]
    below = np.tril_indices(5)
    np.testing.assert_allclose(mosaic[6:11][below], maps.sel(layer=1).mean("head").values[below])
    whole = maps.mean(("layer", "head")).values
    np.testing.assert_allclose(mosaic[12:17][below], whole[below])


def test_intervals_are_over_seeds_or_over_the_documents_of_one_seed(specs, measured):
    table = specs["gradients"].table.set_index(["variant", "layer"])
    seeds = [
        float(measured[m, "relative_gradient_norm"].sel(layer=1).mean())
        for m, (group, _) in MODELS.items()
        if group == "layernorm-both"
    ]
    documents = measured["twin-none-0", "relative_gradient_norm"].sel(layer=1).values
    for variant, units, over in (
        ("layernorm-both", seeds, "seeds"),
        ("none", documents, "families"),
    ):
        row = table.loc[variant, 1]
        low, high = stats.ttest_1samp(units, 0).confidence_interval(0.95)
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((np.mean(units), low, high))
        assert (row["over"], row["n"]) == (over, len(units))
    said = specs["gradients"].caption
    assert "over 4 training seeds (layernorm-both)" in said
    assert "over 6 documents of the one seed at hand (none)" in said


def test_prompt_families_weigh_equally(specs, measured):
    table = specs["activations"].table.set_index(["variant", "layer"])
    of_twin = measured["twin-none-0", "residual_log_variance"].sel(layer=0).values.reshape(4, 2)
    low, high = stats.ttest_1samp(of_twin.mean(1), 0).confidence_interval(0.95)
    row = table.loc["none", 0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((of_twin.mean(), low, high))


def test_robustness_is_the_rise_over_the_clean_text(specs, measured):
    table = specs["robustness"].table
    clean = table[table["rate"] == 0]
    assert (clean["mean"] == 0).all()
    loss = measured["twin-none-0", "noisy_loss"].sel(noise="characters")
    expected = float((loss.sel(rate=0.2) - loss.sel(rate=0.0)).mean())
    row = table[
        (table["variant"] == "none") & (table["noise"] == "characters") & (table["rate"] == 0.2)
    ]
    assert float(row["mean"].iloc[0]) == pytest.approx(expected)
    labels = [t.get_text() for t in drawn(specs["robustness"]).legends[0].get_texts()]
    assert f"none ({float(row['clean'].iloc[0]):.2f})" in labels


def test_weights_of_one_seed_show_the_range_of_its_blocks(specs, measured):
    table = specs["weights"].table.set_index(["statistic", "matrix", "variant"])
    of_twin = measured["twin-none-0", "weight_statistics"].sel(statistic="sd", matrix="o").values
    row = table.loc["sd", "o", "none"]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(
        (of_twin.mean(), of_twin.min(), of_twin.max())
    )
    assert table.loc["sd", "o", "layernorm-both"]["over"] == "seeds"


def test_planes_share_levels_and_curves_their_axes(specs, measured):
    figure = drawn(specs["landscape-surface"])
    filled = [c for a in figure.axes for c in a.collections if getattr(c, "filled", False)]
    assert len(filled) >= 2
    assert all(np.array_equal(filled[0].levels, c.levels) for c in filled[:2])
    most = max(float(measured[m, "landscape_surface"].max()) for m in MODELS if m.endswith("-0"))
    assert filled[0].levels[-1] >= most
    first, second = drawn(specs["landscape-curves"]).axes[:2]
    assert first.get_ylim() == second.get_ylim()
    curves = measured["twin-none-0", "landscape_curve"]
    lines = [line.get_ydata() for line in second.get_lines()]
    np.testing.assert_allclose(lines[:2], curves.values)
    np.testing.assert_allclose(lines[2], curves.mean("direction"))


def test_every_variant_keeps_its_colour(specs):
    from refutable.studies.norm_ablation.figures.data import look

    assert look("none", ["none"]) == look("none", ["layernorm-both", "none"])
    assert look("gpt2", ["none", "gpt2"]) != look("none", ["none", "gpt2"])
