"""Weights of a small decoder as a release keeps them, without a model."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from support.spoken import facts

from refutable.evidence.release import Release
from refutable.gate.behaviour import BehaviourReport
from refutable.models.facts.tensors import tensor_facts

HEAD = 8


def state(seed=0, blocks=4, width=32):
    """Matrices and gains of a small decoder, under Llama's names."""
    source = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=source)

    held = {
        "model.embed_tokens.weight": drawn(60, width),
        "model.norm.weight": 1 + drawn(width) / 9,
    }
    for i in range(blocks):
        stem = f"model.layers.{i}."
        for part in "qkvo":
            held[f"{stem}self_attn.{part}_proj.weight"] = drawn(width, width)
        held[f"{stem}mlp.up_proj.weight"] = drawn(48, width)
        held[f"{stem}mlp.down_proj.weight"] = drawn(width, 48)
        held[f"{stem}input_layernorm.weight"] = 1 + drawn(width) / 9
    return held


class Holder(torch.nn.Module):
    def __init__(self, held):
        super().__init__()
        self.held = held

    def named_parameters(self, *args, **kwargs):
        return iter(self.held.items())


def release(held):
    tensors, arrays = tensor_facts(Holder(held))
    config = {"hidden_size": 32, "head_dim": HEAD, "num_attention_heads": 4}
    return Release("m", "s", "h", facts(tensors=tensors, config=config), arrays, {})


BASE = state()
Q, OUT = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.self_attn.o_proj.weight"
NORM, UP = "model.layers.{}.input_layernorm.weight", "model.layers.{}.mlp.up_proj.weight"


def report(divergence):
    change = SimpleNamespace(quantity="kl", change=SimpleNamespace(value=divergence), largest=0.0)
    return BehaviourReport((change,))
