"""Depth profiles: what they hold, and that a change in one block is named as such."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from support.checkpoints import llama, save

from refutable.capture.measure import measure
from refutable.gate.profiles import MARGINS, PROFILES, compare_profiles
from refutable.models.encode import Encoded
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY

RECORDED = tuple(name for name in PROFILES if REGISTRY[name].recorder is not None)
FAMILIES = 10


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    return load(resolve(save(llama(num_hidden_layers=6), folder)))


@pytest.fixture(scope="module")
def encoded():
    rng = np.random.default_rng(4)
    ids = tuple(tuple(int(t) for t in rng.integers(1, 90, 9)) for _ in range(2 * FAMILIES))
    names = tuple(f"f{i // 2}/{i % 2}" for i in range(2 * FAMILIES))
    return Encoded(ids, names, tuple(n.split("/")[0] for n in names), "no-bos", None)


def measured(loaded, encoded):
    items = [REGISTRY[name] for name in RECORDED]
    return measure(loaded.model, find_sites(loaded.model), encoded, items, layout="single")


def rows(loaded, encoded):
    """Observations as a run leaves them."""
    frames = []
    for name, array in measured(loaded, encoded).items():
        table = array.rename("value").to_dataframe().reset_index()
        frames.append(table.assign(quantity=name, head=table.get("head", np.nan)))
    return pd.concat(frames).assign(
        claim=None, control=None, model="m", prompts="p", arm="no-bos", text=""
    )


def changed(base, loaded, encoded):
    changes = compare_profiles(base, rows(loaded, encoded), ("m", "m"))
    return {p.quantity: p.changed for p in changes if p.changed}


def test_what_a_block_adds_and_how_far_it_turns_the_stream(loaded, encoded):
    arrays = measured(loaded, encoded)
    block, seen = loaded.model.model.layers[2], {}
    handles = [
        block.self_attn.register_forward_hook(lambda m, a, out: seen.update(attention=out[0])),
        block.mlp.register_forward_hook(lambda m, a, out: seen.update(feed_forward=out)),
    ]
    try:
        with torch.no_grad():
            states = loaded.model(
                torch.tensor([encoded.ids[3]]), output_hidden_states=True
            ).hidden_states
    finally:
        for handle in handles:
            handle.remove()
    before, after = (states[i][0, 1:].double() for i in (2, 3))
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    expected = {
        "attention_adds": seen["attention"][0, 1:].norm(dim=-1).log().mean(),
        "feed_forward_adds": seen["feed_forward"][0, 1:].norm(dim=-1).log().mean(),
        "block_angle": cosine.arccos().mean(),
    }
    for name, value in expected.items():
        got = float(arrays[name].isel(prompt=3).sel(layer=2))
        assert got == pytest.approx(float(value), rel=1e-4), name


def test_the_same_model_moves_no_profile(loaded, encoded):
    base = rows(loaded, encoded)
    assert changed(base, loaded, encoded) == {}


FAULTS = {
    "gain before the attention": ("input_layernorm.weight", lambda w: 1.5 * w, "attention_adds"),
    "gain before the feed-forward": (
        "post_attention_layernorm.weight", lambda w: 1.5 * w, "feed_forward_adds",
    ),
    "attention silenced": ("self_attn.o_proj.weight", torch.zeros_like, "attention_adds"),
    "feed-forward tripled": ("mlp.down_proj.weight", lambda w: 3 * w, "feed_forward_adds"),
}  # fmt: skip


@pytest.mark.parametrize("layer", [1, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_change_in_a_block_is_first_seen_there(fault, layer, loaded, encoded):
    name, make, quantity = FAULTS[fault]
    base = rows(loaded, encoded)
    parameter = loaded.model.get_parameter(f"model.layers.{layer}.{name}")
    whole = parameter.data
    try:
        parameter.data = make(whole)
        moved = changed(base, loaded, encoded)
    finally:
        parameter.data = whole
    assert min(blocks[0] for blocks in moved.values()) == layer
    assert moved[quantity][0] == layer


def planted(head_shift=0.0, lens_shift=0.0, seed=8):
    """Two profiles of 12 families, with small noise."""
    rng = np.random.default_rng(seed)
    made = []
    for family in range(12):
        for layer in range(5):
            common = {
                "claim": None, "control": None, "model": "m", "prompts": "p", "arm": "no-bos",
                "prompt": f"f{family}/0", "family": f"f{family}", "text": "t", "layer": layer,
            }  # fmt: skip
            noise = rng.normal(0, 0.001, 5)
            for head in range(4):
                value = 0.4 + noise[head] + head_shift * (head == 2 and layer == 3)
                made.append({**common, "head": head, "quantity": "attention_first", "value": value})
            value = 3.0 - 0.5 * layer + noise[4] + lens_shift * (layer == 1)
            made.append({**common, "head": np.nan, "quantity": "lens_divergence", "value": value})
    return pd.DataFrame(made)


def test_heads_are_averaged_and_each_profile_has_its_margin():
    base = planted(seed=7)
    assert not any(p.changed for p in compare_profiles(base, base, ("m", "m")))
    # One of four heads: the block's mean moves by a quarter of it.
    inside = compare_profiles(base, planted(head_shift=3 * MARGINS["profile"]), ("m", "m"))
    assert not any(p.changed for p in inside)
    beyond = compare_profiles(base, planted(head_shift=6 * MARGINS["profile"]), ("m", "m"))
    assert beyond[0].quantity == "attention_first"
    assert beyond[0].changed == (3,)
    lens = compare_profiles(base, planted(lens_shift=0.05), ("m", "m"))
    assert not any(p.changed for p in lens)
    lens = compare_profiles(base, planted(lens_shift=0.15), ("m", "m"))
    assert [(p.quantity, p.first) for p in lens if p.changed] == [("lens_divergence", 1)]
    strict = compare_profiles(
        base, planted(lens_shift=0.05), ("m", "m"), {"profile": 0.02, "lens": 0.01}
    )
    assert strict[0].changed == (1,)


def test_a_model_without_heads_in_its_rows_is_compared():
    base = planted(seed=7).drop(columns="head").assign(head=np.nan)
    base = base[base["quantity"] == "lens_divergence"]
    noise = np.random.default_rng(9).normal(0, 0.01, len(base))
    later = base.assign(value=base["value"] + noise + 0.3 * (base["layer"] == 4))
    assert compare_profiles(base, later, ("m", "m"))[0].changed == (4,)
