"""Observables of weights: labels and values on planted models, ranks, depth, what figures draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from refutable.errors import NotAvailableError
from refutable.models.identify import identify
from refutable.models.load import load, untrained
from refutable.models.registry import resolve
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.observables.weights import (
    depth_correlation,
    depth_difference,
    log_depth_ratio,
    maps,
    rank_above,
    rank_among,
    rank_below,
    tables,
    tables_heads,
    tables_positions,
    views,
)
from refutable.observables.weights.pca import MEASURES
from refutable.observables.weights.work import ends, spaced

IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


@pytest.fixture(scope="module")
def planted():
    """GPT-2 of 7 blocks: sd grows 10 % a block, head 2 has triple queries, positions are waves."""
    torch.manual_seed(2)
    config = GPT2Config(n_embd=64, n_head=4, n_layer=7, vocab_size=90, n_positions=96, **IDS)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for layer, block in enumerate(model.transformer.h):
            for weight in (
                block.attn.c_attn.weight,
                block.attn.c_proj.weight,
                block.mlp.c_fc.weight,
                block.mlp.c_proj.weight,
            ):
                weight.copy_(torch.randn_like(weight) * 0.02 * 1.1**layer)
            block.attn.c_attn.weight[:, 32:48] *= 3
        t = torch.arange(96.0)[:, None]
        phase = torch.rand(64) * 6
        model.transformer.wpe.weight.copy_(torch.sin(2 * torch.pi * t / 24 + phase))
        model.transformer.wpe.weight[:, 5] *= 40
    return WeightReader.from_state_dict(model.state_dict(), config)


def _value(array, **at):
    return float(array.sel(**at))


def test_spread_by_depth_is_what_was_planted(planted):
    values = tables.weight_statistics(planted)
    assert values.dims == ("statistic", "layer", "matrix")
    assert list(values.matrix.values) == ["q", "k", "v", "o", "in", "out"]
    assert _value(values, statistic="sd", layer=3, matrix="v") == pytest.approx(
        0.02 * 1.1**3, rel=0.03
    )
    ratio = log_depth_ratio(values.sel(statistic="sd", matrix="out"))
    assert float(ratio) == pytest.approx(5 * np.log(1.1), abs=0.03)
    assert float(depth_correlation(values.sel(statistic="sd", matrix="out"))) == pytest.approx(1)


def test_a_large_head_and_a_dominant_dimension_are_found(planted):
    norms = tables_heads.query_head(planted).sel(measure="norm")
    assert (norms.argmax("head") == 2).all()
    np.testing.assert_allclose(
        norms.sel(head=2) / norms.sel(head=[0, 1, 3]).mean("head"), 3, rtol=0.1
    )
    variance = tables_positions.position_variance(planted)
    assert int(variance.argmax("dim")) == 5
    assert float(variance.max() / variance.sum()) == pytest.approx(1600 / 1663, rel=1e-3)


def test_waves_over_positions(planted):
    values = tables_positions.position_periodicity(planted)
    np.testing.assert_allclose(values.sel(fit="period"), 24, rtol=5e-3)
    assert float(values.sel(fit="r2_sinusoid").min()) > 0.999
    share = values.sel(fit="top3_share", drop=True).mean("dim")
    shuffled = tables_positions.position_top3_shuffled(planted)
    assert float(rank_above(share, shuffled)) == 0.05
    adjacent = tables_positions.position_adjacent_correlation(planted)
    expected = np.cos(2 * np.pi / 24)  # of two waves of random phases, a step apart
    assert float(adjacent.sel(kind="standardised").mean()) == pytest.approx(expected, abs=0.02)


def test_counts(planted):
    total = tables.parameter_total(planted)
    assert _value(total, counted="named") - _value(total, counted="unique") == 90 * 64
    assert _value(total, counted="stored") == _value(total, counted="unique")
    tied = tables.tied_parameter(planted)
    assert list(tied.names.values) == ["transformer.wte.weight = lm_head.weight"]
    assert float(tied.sum()) == 90 * 64
    by_category = tables.parameter_count(planted)
    assert float(by_category.sum()) == _value(total, counted="unique")
    by_block = tables.block_parameter_count(planted)
    for category in ("attention", "mlp"):
        assert float(by_block.sel(category=category).sum()) == _value(
            by_category, category=category
        )
    megabytes = tables.parameter_megabytes(by_category)
    assert _value(megabytes, category="position") == pytest.approx(96 * 64 * 4e-6)


def test_pooled_attention_is_the_stored_matrix(planted):
    matrix = planted.tensor("transformer.h.4.attn.c_attn.weight")
    chosen = tables.attention_input_statistics(planted).sel(layer=4)
    assert _value(chosen, statistic="sd") == pytest.approx(matrix.std(), rel=1e-6)
    # Triple queries in one head are a scale mixture: heavier tails than any of its parts.
    assert _value(chosen, statistic="excess_kurtosis") > 3
    spectrum = tables.attention_input_spectrum(planted).sel(layer=4)
    gaussian = 63 * 192 / (63 + 192 + 1)
    assert _value(spectrum, measure="participation_gaussian") == pytest.approx(gaussian)
    assert list(spectrum.measure.values) == list(MEASURES)


def test_every_weight_observable_says_its_dims(planted):
    named = {o.name: o for o in REGISTRY if o.weights is not None}
    assert "weight_statistics" in named
    for name, item in named.items():
        assert not item.per_prompt
        assert not item.derived
        array = item.weights(planted)
        assert array.dims == item.dims, name
        assert np.isfinite(array.values).all(), name


def test_rotated_and_untrained_copies_keep_their_places(planted):
    trees = tables_heads.head_clustering(planted)
    again = tables_heads.head_clustering(planted)
    xr.testing.assert_identical(trees, again)
    assert list(trees.layer.values) == [0, 1, 2, 4, 5, 6]
    whole = tables_heads.head_cophenetic(planted)
    of_model = trees.sel(tree="cophenetic", copy=-1, drop=True)
    np.testing.assert_allclose(of_model, whole.sel(layer=of_model.layer), atol=1e-9)
    model, copies = views.weight_views(planted), views.untrained_weight_views(planted)
    for view in ("query_spread", "dominant_share"):
        assert float(rank_among(model.sel(view=view), copies.sel(view=view))) == 0.05


def test_a_copy_of_an_untrained_model_is_like_it():
    # The null of the null: one more untrained model has no place of its own among 19.
    config = GPT2Config(n_embd=64, n_head=4, n_layer=3, vocab_size=90, n_positions=64, **IDS)
    reader = WeightReader.from_state_dict({}, config).untrained(999)
    model, copies = views.weight_views(reader), views.untrained_weight_views(reader)
    ranks = [float(rank_among(model.sel(view=view), copies.sel(view=view))) for view in views.VIEWS]
    assert np.mean(np.array(ranks) <= 0.05) <= 1 / 12
    assert np.median(ranks) > 0.2


def test_rotary_models_have_no_position_table():
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, **IDS,
    )  # fmt: skip
    reader = WeightReader.from_state_dict({}, config).untrained(0)
    with pytest.raises(NotAvailableError, match="positions are rotary"):
        tables_positions.position_variance(reader)
    values = views.weight_views(reader)
    assert np.isnan(values.sel(view="adjacent_correlation"))
    assert np.isfinite(values.sel(view="cophenetic_ov"))
    assert "gate" in tables.weight_statistics(reader).matrix


def test_a_model_whose_position_table_is_zero_is_not_asked_about_it():
    spec = resolve("no-position-0")
    assert identify(spec).facts.positions == "none"
    with pytest.raises(NotAvailableError, match="table of position embeddings is zero"):
        tables_positions.position_variance(WeightReader.from_spec(spec))


def test_ranks_count_ties_and_refuse_what_is_no_number():
    copies = xr.DataArray(np.arange(19.0), dims="copy")
    assert float(rank_above(xr.DataArray(18.5), copies)) == 1 / 20
    assert float(rank_above(xr.DataArray(18.0), copies)) == 2 / 20
    assert float(rank_below(xr.DataArray(-1.0), copies)) == 1 / 20
    assert float(rank_below(xr.DataArray(100.0), copies)) == 1.0
    assert float(rank_among(xr.DataArray(9.0), copies)) == 1.0
    assert float(rank_among(xr.DataArray(-5.0), copies)) == 1 / 20
    assert float(rank_among(xr.DataArray(18.0), copies)) == 4 / 20
    assert np.isnan(rank_among(xr.DataArray(1.0), copies.where(copies > 3)))
    for rank in (rank_above, rank_below, rank_among):
        assert np.isnan(rank(xr.DataArray(np.nan), copies))


def test_thirds_of_the_depth():
    values = xr.DataArray([1.0, 3, 100, 100, 100, 5, 9], dims="layer")
    assert float(depth_difference(values)) == 7 - 2
    with_ties = xr.DataArray([1.0, 1, 2, 3], dims="layer")
    assert float(depth_correlation(with_ties)) == pytest.approx(0.9486833)


def test_blocks_that_are_looked_at():
    assert spaced(range(30), 3) == (0, 14, 29)
    assert spaced(range(2), 3) == (0, 1)
    assert ends(range(30)) == (0, 1, 2, 27, 28, 29)
    assert ends(range(5)) == (0, 1, 2, 3, 4)


def test_block_means_use_every_element():
    matrix = np.arange(7 * 10, dtype=float).reshape(7, 10)
    small = maps.block_means(matrix, 3, 4)
    assert small.shape == (3, 4)
    rows, columns = np.diff([0, 2, 5, 7]), np.diff([0, 2, 5, 8, 10])
    assert (small * np.outer(rows, columns)).sum() == pytest.approx(matrix.sum())
    assert small[0, 0] == matrix[:2, :2].mean()
    np.testing.assert_array_equal(maps.block_means(matrix, 20, 20), matrix)


def test_a_loaded_model_is_read_from_its_checkpoint():
    loaded = load(resolve("tiny-layernorm"), dtype="bfloat16")
    reader = WeightReader.of(loaded)
    held = load(resolve("tiny-layernorm")).model.state_dict()
    for parameter in reader.layout.parameters:
        np.testing.assert_array_equal(reader.tensor(parameter.name), held[parameter.name].numpy())
    copy = untrained(loaded, 3)
    from_copy = WeightReader.of(copy).matrix(0, "in")
    held = dict(copy.model.named_parameters())
    (name,) = [n for n in held if n.endswith("h.0.mlp.c_fc.weight")]
    np.testing.assert_array_equal(from_copy, held[name].detach().float().numpy())
