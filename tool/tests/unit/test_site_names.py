"""A site is what its name says, on architectures that give modules other names, or none like it."""

from __future__ import annotations

import pytest

from refutable.models.sites import Sites, find_sites
from refutable.models.small import build_small, small_config

RIGHT = {
    "gemma4_text": {
        "blocks.0.ln1": "model.layers.0.input_layernorm",
        "blocks.0.ln1_post": "model.layers.0.post_attention_layernorm",
        "blocks.0.ln2": "model.layers.0.pre_feedforward_layernorm",
        "blocks.0.ln2_post": "model.layers.0.post_feedforward_layernorm",
    },
    "beam": {
        "blocks.1.ln1_post": "model.layers.1.post_attention_layernorm",
        "blocks.1.ln2_post": "model.layers.1.post_feedforward_layernorm",
    },
    "zaya": {
        "blocks.0.ln2": "model.layers.0.post_attention_layernorm",
        "blocks.0.ln1_post": None,
        "blocks.0.ln2_post": None,
    },
    "rwkv": {
        "blocks.0.ln1": "rwkv.blocks.0.ln1",
        "blocks.0.ln2": "rwkv.blocks.0.ln2",
        "blocks.1.mlp.post": None,
        "ln_final": None,
    },
    "jetmoe": {"blocks.0.attn.z": None, "blocks.0.mlp.post": None},
    "zamba": {"blocks.1.attn.z": "model.layers.1.shared_transf.self_attn.o_proj"},
    "zamba2": {"blocks.1.attn.z": "model.layers.1.shared_transformer.self_attn.o_proj"},
    "gemma3n_text": {"blocks.0.ln2_post": None, "blocks.0.attn.z": None},
    "modernbert-decoder": {"ln_final": "model.final_norm"},
    "bart": {"ln_final": None, "blocks.0.attn.z": "model.decoder.layers.0.self_attn.out_proj"},
    "deepseek_v4": {"ln_final": "model.norm", "blocks.0.ln1": None},
}
"""Module of a site, read from the modeling files; ``None`` where there is none that can be read."""


def sites_of(model_type: str) -> Sites:
    return find_sites(build_small(small_config(model_type)))


@pytest.mark.parametrize("model_type", RIGHT)
def test_a_site_is_the_module_that_its_name_says(model_type: str) -> None:
    sites = sites_of(model_type)
    for name, path in RIGHT[model_type].items():
        assert (sites[name].path if name in sites else None) == path, name
        assert path is not None or sites.reason(name), name


def test_norms_outside_of_the_blocks_are_told_apart() -> None:
    kinds = sites_of("modernbert-decoder").norm_kinds
    assert kinds["model.embeddings.norm"] == "embedding"
    assert kinds["model.final_norm"] == "final"
    assert kinds["lm_head.norm"] == "head"
