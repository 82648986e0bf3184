"""Attention in some of the blocks, or an observable that fails, takes its own claims away alone."""

from __future__ import annotations

import json

import pytest
import torch
from support.checkpoints import trained
from support.projects import claim_source, evidence, module

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")

BROKEN = '''
from refutable.observables.registry import observable

@observable(source="weights", dims=("layer",))
def breaks_here(weights):
    """An observable with a fault in it."""
    return {}["no such key"]
'''


def write_hybrid(folder: object) -> None:
    from transformers import AutoModelForCausalLM, Qwen3NextConfig

    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        max_position_embeddings=64,
        layer_types=["linear_attention", "full_attention"] * 2,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    trained(AutoModelForCausalLM.from_config(config)).save_pretrained(folder)


def test_a_hybrid_is_measured_but_for_its_attention(project: pytest.Pytester) -> None:
    write_hybrid(project.path / "hybrid")
    project.makeconftest(DATA + BROKEN)
    project.makepyfile(
        test_mine=module(
            claim_source("grows", predicts="mean.above(-9.0)"),
            claim_source(
                "looks",
                observable="attention_first",
                body='return attention_first.mean(["layer", "head"])',
            ),
            claim_source("breaks", observable="breaks_here", body="return breaks_here"),
        )
    )
    # In a process of its own: an observable that is registered stays so in this one.
    run = project.runpytest_subprocess("--claim-model=hybrid")
    results = {r["claim"]: r for r in evidence(project)["results"]}
    assert results["gain.grows"]["outcome"] == "passed", run.stdout.str()[-3000:]
    assert results["gain.looks"]["outcome"] == "skipped"
    assert "attention was found in 2 of 4 blocks" in results["gain.looks"]["reason"]
    assert results["gain.breaks"]["outcome"] == "error"
    assert "measuring breaks_here of hybrid failed" in results["gain.breaks"]["reason"]
    assert "no such key" in json.dumps(results["gain.breaks"])
