"""Claims about thoughts on small labelled arrays, worked out by hand."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from refutable.observables.thoughts.attention import CONTROLS, SPANS, thought_attention
from refutable.observables.thoughts.reduced import (
    answer_row,
    attention_follows_direct_importance,
    direct_importance,
    pairs_beyond_singles,
    thoughts_that_matter,
    total_importance,
)
from refutable.records import ModelFacts
from refutable.store.committed import CommittedFiles, CommittedModel, CommittedWriter, committed_in
from refutable.store.store import ObservationKey

RNG = np.random.default_rng(0)
NAMES = [f"t{number}" for number in range(6)]


def body(module: str, claim_id: str) -> Any:
    measured = importlib.import_module(f"refutable.claims.thought_tokens.{module}")
    return next(
        made.__claim__.body
        for made in vars(measured).values()
        if getattr(getattr(made, "__claim__", None), "id", "") == claim_id
    )


def by_prompt(values: Any, *dims: str, **coords: Any) -> xr.DataArray:
    array = np.asarray(values, dtype=float)
    about = {"prompt": [f"p{i}" for i in range(len(array))]}
    return xr.DataArray(array, dims=("prompt", *dims), coords={**about, **coords})


def losses(values: Any) -> xr.DataArray:
    """Nats and accuracy lost, (prompt, quantity, thought)."""
    both = np.stack([np.asarray(values, float), np.zeros_like(np.asarray(values, float))], axis=1)
    quantity = ["log-probability", "accuracy"]
    return by_prompt(both, "quantity", "thought", quantity=quantity, thought=range(6))


def shares(values: Any) -> xr.DataArray:
    return by_prompt(values, "layer", "thought", layer=range(3), thought=range(6))


def test_importance_is_read_at_its_place() -> None:
    coordinates = ["input, later thoughts recomputed", "input", "block 0"]
    values = RNG.normal(size=(2, 3, 3, 2, 6))
    reduced = by_prompt(
        values, "replaced_by", "place", "quantity", "thought",
        replaced_by=["zero", "mean", "resampled"], place=coordinates, thought=range(6),
    )  # fmt: skip
    np.testing.assert_array_equal(total_importance(reduced), values[:, 2, 0])
    np.testing.assert_array_equal(direct_importance(reduced), values[:, 2, 1])
    written = reduced.sel(place=["input", "block 0"])
    np.testing.assert_array_equal(total_importance(written), values[:, 2, 1])


def test_effective_number_of_thoughts() -> None:
    for rows, wanted in (
        ([[1, 1, 1, 1, 1, 1]], 6.0),
        ([[5, 0, 0, 0, 0, -3]], 1.0),
        ([[2, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0]], 2.0),
    ):
        assert float(thoughts_that_matter(losses(rows))) == pytest.approx(wanted)
    assert np.isnan(thoughts_that_matter(losses([[0, 0, 0, 0, 0, -1]])))


def test_correlation_over_the_six() -> None:
    attention = RNG.uniform(size=(3, 3, 6))
    lost = RNG.normal(size=(3, 6))
    lost[2] = 1.0
    values = attention_follows_direct_importance(shares(attention), losses(lost))
    wanted = [np.corrcoef(attention[i].mean(axis=0), lost[i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(values, [*wanted, 0.0], atol=1e-12)


def test_shares_are_per_token_and_sum_to_one() -> None:
    weights = RNG.uniform(size=(1, 3, 1, 1, len(SPANS)))
    where = ["answer", "later", "published"]
    spans = by_prompt(
        weights, "received_from", "layer", "head", "span", received_from=where, span=list(SPANS)
    )
    lengths = by_prompt([[1, 2, 1, 4, 1, 1]], "span", span=NAMES)
    values = thought_attention(spans, lengths)
    six = weights[0, 0, 0, 0, :6] / [1, 2, 1, 4, 1, 1]
    np.testing.assert_allclose(values.sel(received_from="answer").squeeze(), six / six.sum())
    row = weights[0, 2, 0, 0, :6]
    np.testing.assert_allclose(values.sel(received_from="published").squeeze(), row / row.sum())
    assert list(answer_row(spans)["span"].values) == [*NAMES, "begin", "end"]
    assert set(CONTROLS) <= set(SPANS)


def test_pairs_beyond_their_members() -> None:
    both = np.zeros((1, 2, 6, 6))
    both[0, 0] = np.diag([1.0, 2, 3, 4, 5, 6])
    for i in range(6):
        for j in range(6):
            if i != j:
                both[0, 0, i, j] = (i + 1) + (j + 1) + 0.5
    reduced = by_prompt(
        both, "quantity", "first", "second",
        quantity=["log-probability", "accuracy"], first=range(6), second=range(6),
    )  # fmt: skip
    np.testing.assert_allclose(pairs_beyond_singles(reduced)[0], [0.5, 0.0])


def test_the_least_contrast_of_the_middle() -> None:
    lost = losses([[1, 2, 5, 4, 3, 0], [1, 2, 5, 6, 3, 0]])
    claim = body("test_importance", "thoughts.middle-matters-most-small")
    # Means 1, 2, 5, 5, 3, 0: the least contrast is 5 - 3.
    assert float(claim(lost)) == pytest.approx(2.0)


def test_bodies_about_attention() -> None:
    values = np.full((2, 3, 6), 0.1)
    values[:, :, 5] = [0.2, 0.3, 0.5]
    share = shares(values)
    module = "test_concentration"
    np.testing.assert_allclose(body(module, "thoughts.attention-on-last")(share), 0.4)
    np.testing.assert_allclose(body(module, "thoughts.focus-grows-with-depth")(share), 0.15)
    static = body("test_uniform_and_static", "thoughts.attention-static")
    # From the block at two thirds (1 of 0 to 2) to the last.
    assert float(static(share)) == pytest.approx(0.2)
    even = body("test_uniform_and_static", "thoughts.attention-uniform")
    assert float(even(share, share * 0 + 0.1)) == pytest.approx(0.4)
    least = body("test_attention_and_importance", "thoughts.middle-least-attended")
    assert float(least(share)) == pytest.approx(0.0)


def test_the_published_share_is_that_of_reciprocal_lengths() -> None:
    seen = by_prompt([np.arange(10, 16)], "span", span=NAMES)
    reciprocal = 1 / np.arange(10, 16)
    exact = np.broadcast_to(reciprocal / reciprocal.sum(), (1, 3, 6)).copy()
    claim = body("test_uniform_and_static", "thoughts.attention-uniform-as-published")
    assert float(claim(shares(exact), seen)) == pytest.approx(0.0)
    exact[0, 1, 2] += 0.01
    assert float(claim(shares(exact), seen)) == pytest.approx(0.01)


def test_the_studys_own_table_has_lower_shares_elsewhere() -> None:
    claim = body(
        "test_attention_and_importance", "thoughts.middle-least-attended-in-published-table"
    )
    assert claim(None) == 2.0


def test_committed_observations_of_several_files(tmp_path: Path) -> None:
    facts = ModelFacts(
        id="a", architecture="", norm_kind="", blocks=1, heads=1, d_model=1, d_vocab=1, context=1,
        parameters=1, tied=True, positions="", attention_interface=True, bos=None, tokenizer=False,
    )  # fmt: skip
    keys = []
    for number, name in enumerate(("first", "second")):
        writer = CommittedWriter()
        writer.models[name] = CommittedModel(facts, f"w{number}", "", "")
        key = ObservationKey(
            weights=f"w{number}", tokenizer="", prompts="", arm="", observable="x", version=1,
            dtype="float32", device="cpu", role="", extra="",
        )  # fmt: skip
        writer.put(key, xr.DataArray([float(number)], dims="x"))
        writer.put_json(key, {"number": number})
        (tmp_path / name).mkdir()
        writer.write(tmp_path / name / "observations.safetensors")
        keys.append(key)
    both = committed_in(tmp_path)
    assert isinstance(both, CommittedFiles)
    assert set(both.models) == {"first", "second"}
    for number, key in enumerate(keys):
        assert key in both
        assert both.get(key) == number
        assert both.get_json(key) == {"number": number}
    assert both.model("second") is not None
    assert both.model("third") is None
