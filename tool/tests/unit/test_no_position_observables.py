"""Observables and figures of the no-position study on planted values and on a shipped seed."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from refutable.cli.commit import BEFORE_TRAINING
from refutable.errors import NotAvailableError, RefutableError
from refutable.measurement.harness import open_harness
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.registry import REGISTRY
from refutable.report.figures.coordinates import placed
from refutable.spec.prompts import PromptLibrary
from refutable.spec.references import reference
from refutable.studies.no_position.figures.training import _band
from refutable.studies.no_position.observables import activations, training, weights
from refutable.system.paths import fixtures


def _pattern(rows):
    size = len(rows)
    return xr.DataArray(
        np.array([rows], dtype=float),
        dims=("layer", "query", "key"),
        coords={"layer": [0], "query": range(size), "key": range(size)},
    )


def test_looking_back_by_hand():
    pattern = _pattern([[1.0, 0, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.5, 0.4, 0], [0.2, 0.2, 0.5, 0.1]])
    chosen = activations.attention_looking_back(pattern).sel(layer=0)
    assert float(chosen.sel(back=0)) == pytest.approx((0.3 + 0.4 + 0.1) / 3)
    assert float(chosen.sel(back=1)) == pytest.approx((0.7 + 0.5 + 0.5) / 3)
    assert float(chosen.sel(back=2)) == pytest.approx((0.1 + 0.2) / 2)
    assert float(chosen.sel(back=3)) == pytest.approx(0.2)


def test_distance_from_uniform_by_hand():
    uniform = _pattern([[1.0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert float(abs(activations.distance_from_uniform(uniform)).max()) < 1e-12
    # BOS takes .5 and .6; the rest is even.
    sink = _pattern([[1.0, 0, 0], [0.5, 0.5, 0], [0.6, 0.2, 0.2]])
    chosen = activations.distance_from_uniform(sink).sel(layer=0)
    assert float(chosen.sel(keys="all")) == pytest.approx((0.0 + (0.6 - 1 / 3)) / 2)
    assert float(chosen.sel(keys="not BOS")) == pytest.approx(0.0, abs=1e-12)
    skewed = _pattern([[1.0, 0, 0], [0.5, 0.5, 0], [0.6, 0.3, 0.1]])
    chosen = activations.distance_from_uniform(skewed).sel(layer=0, keys="not BOS")
    assert float(chosen) == pytest.approx((0.0 + 0.25) / 2)


def test_probe_reads_a_planted_position_and_nothing_from_noise():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(400, 20, 5, generator=generator)
    planted = noise.clone()
    planted[..., 2] += 3.0 * torch.arange(20.0)
    assert activations._probe(planted, None) > 0.97
    assert abs(activations._probe(noise, None)) < 0.1
    assert activations._probe(planted, np.random.default_rng(0)) < 0.1


def test_map_agreement_ignores_constants_over_keys():
    values = np.random.default_rng(0).normal(size=(2, 1, 6, 6))
    values[1] = 2.0 * values[0] + np.arange(6)[:, None]
    maps = xr.DataArray(
        values,
        dims=("form", "layer", "query", "key"),
        coords={"form": ["published", "composed"]},
    )
    assert float(weights.query_key_map_agreement(maps)[0]) == pytest.approx(1.0)
    maps.values[1] = -values[0]
    assert float(weights.query_key_map_agreement(maps)[0]) == pytest.approx(-1.0)


@pytest.fixture(scope="module")
def trained():
    return load(resolve("no-position-0"))


def test_shipped_seed_recalls_the_previous_token(trained):
    assert float(training.held_out_recall_loss(trained, None)) < 0.01
    assert training.position_table_norm(trained, None).values.tolist() == [0.0, 0.0]
    losses = training.training_loss(trained, None)
    assert losses.sizes["step"] == 4000
    assert float(losses[0]) == pytest.approx(6.0077, abs=0.05)


def test_exact_identities_hold_on_a_shipped_seed(trained):
    assert float(weights.attribution_gap(trained, None)) < 1e-9
    assert float(weights.rewriting_gap(trained, None).max()) < 1e-9
    agreement = weights.score_agreement(trained, None)
    assert float(agreement.sel(form="composed", layer=0)) == pytest.approx(1.0, abs=1e-9)
    assert float(agreement.sel(form="published", layer=0)) < 0.9


def test_mean_attention_is_that_of_the_eager_model(trained):
    pattern = activations.mean_attention(trained, None)
    np.testing.assert_allclose(pattern.sum("key"), 1.0, atol=1e-5)
    assert float(pattern.where(pattern["key"] > pattern["query"], 0.0).max()) == 0.0
    eager = copy.deepcopy(trained.model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        tokens = activations.held_out(trained)
        patterns = torch.stack(eager(tokens, output_attentions=True).attentions)
    np.testing.assert_allclose(pattern, patterns.mean((1, 2)), atol=1e-5)


def test_other_models_are_refused(trained):
    import dataclasses

    stranger = dataclasses.replace(
        trained, spec=dataclasses.replace(trained.spec, id="other", location="prompts")
    )
    with pytest.raises(NotAvailableError, match="other was not trained by the no-position study"):
        training.held_out_recall_loss(stranger, None)


def test_reference_values_are_found_or_named():
    assert reference("no_position", "loss", "published")[20] == 0.5785
    with pytest.raises(RefutableError, match=r"'no_position\.los'"):
        reference("no_position", "los", "published")


def test_coordinates_become_columns():
    rows = pd.DataFrame({"at": ["how=mean;site=blocks.0.attn.q"], "value": [1.0]})
    table = placed(rows, "how", "site")
    assert table[["how", "site"]].iloc[0].tolist() == ["mean", "blocks.0.attn.q"]
    with pytest.raises(ValueError, match="expected the coordinates"):
        placed(rows, "step")


def test_prediction_band_is_simultaneous_on_the_log_scale():
    from scipy import stats

    logs = np.array([[0.0, 0.2, 0.1, 0.3], [1.0, 1.1, 1.2, 1.3]])
    table = pd.DataFrame(
        [
            {"model": f"m{seed}", "step": step, "loss": math.exp(logs[row, seed])}
            for row, step in enumerate((0, 100))
            for seed in range(4)
        ]
    )
    low, high = _band(table, np.array([0, 100]))
    reach = stats.t.ppf(1 - 0.05 / 4, 3) * logs[1].std(ddof=1) * math.sqrt(1 + 1 / 4)
    assert math.log(high[1]) == pytest.approx(1.15 + reach)
    assert math.log(low[1]) == pytest.approx(1.15 - reach)
    few, _ = _band(table[table["model"] != "m3"], np.array([0, 100]))
    assert np.isnan(few).all()


def test_before_training_the_model_of_each_seed_recalls_nothing():
    trained = load(resolve("no-position-1"))
    table = trained.model.transformer.wte.weight.clone()
    measured = {
        name: REGISTRY[f"untrained_{name}"].experiment(trained, None)
        for name in ("mean_attention", "loss_without_position")
    }
    # Guessing among 299 tokens, whatever a site is replaced with.
    losses = measured["loss_without_position"]
    assert abs(losses - math.log(299)).max() < 0.6
    assert abs(losses - losses.sel(site="intact")).max() < 0.5
    even = activations.distance_from_uniform(measured["mean_attention"]).sel(layer=0, keys="all")
    assert float(even) < 0.05
    # Another seed starts elsewhere, and the trained model is left as it was.
    other = REGISTRY["untrained_mean_attention"].experiment(load(resolve("no-position-2")), None)
    assert float(abs(other - measured["mean_attention"]).max()) > 1e-3
    assert torch.equal(trained.model.transformer.wte.weight, table)


def test_what_is_committed_of_a_model_before_training_is_what_it_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    lab = open_harness(PromptLibrary([fixtures()]))
    archive = lab.archive("no-position-3")
    assert archive.committed is not None
    loaded = load(resolve("no-position-3"))
    for name in sorted(BEFORE_TRAINING):
        known = archive.committed.get(archive.key(REGISTRY[name], "battery", "no-bos", ""))
        assert known is not None
        measure = REGISTRY[name].experiment
        assert measure is not None
        xr.testing.assert_allclose(known, measure(loaded, None), rtol=1e-4, atol=1e-6)
