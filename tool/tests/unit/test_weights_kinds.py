"""Weights of hybrids, fused projections in every arrangement, and what no initialiser sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.planted import VOCAB, PlantedConfig, PlantedLM
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from refutable.errors import ModelError, NotAvailableError
from refutable.models.weights.fused import arranged
from refutable.models.weights.reading import WeightReader
from refutable.models.weights.roles import meta_model
from refutable.observables.registry import REGISTRY

SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def config_of(model_type: str, **changes: Any) -> Any:
    return AutoConfig.for_model(model_type, **{**SMALL, **changes})


class Arranged(nn.Module):
    """Attention whose fused projection holds its parts in an order of its own."""

    order = "qkv"
    groups = 1

    def __init__(self, config: PlantedConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = self.qkv(x).unflatten(-1, (self.groups, 3, -1)).unbind(-2)
        named = {
            letter: part.flatten(-2).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for letter, part in zip(self.order, parts, strict=True)
        }
        scores = named["q"] @ named["k"].transpose(-1, -2) / named["q"].shape[-1] ** 0.5
        weights = (scores + mask).softmax(-1)
        return self.out((weights @ named["v"]).transpose(1, 2).flatten(-2)), weights


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("order", ["qkv", "qvk", "kvq", "vqk"])
def test_every_arrangement_of_a_fused_projection_is_found(
    order: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import planted

    from refutable.models.weights import fused

    monkeypatch.setattr(planted, "PlantedAttention", Arranged)
    monkeypatch.setattr(Arranged, "order", order)
    monkeypatch.setattr(Arranged, "groups", groups)
    fused._probed.cache_clear()
    model = PlantedLM(PlantedConfig())
    ranges = arranged(model, "h.1.attn.qkv", "h.1.attn.out", 1, 8)
    fused._probed.cache_clear()
    part = 32 // groups
    for letter in "qkv":
        starts = [part * (3 * group + order.index(letter)) for group in range(groups)]
        wanted = [place for start in starts for place in range(start, start + part)]
        features = [place for low, high in ranges[letter] for place in range(low, high)]
        assert features == wanted, letter


class Grouped(nn.Module):
    """Four heads of queries and two of keys and values in one projection, head by head."""

    layout = ("q0", "q1", "q2", "q3", "k0", "k1", "v0", "v1")

    def __init__(self, config: PlantedConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.qkv, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = dict(zip(self.layout, self.qkv(x).split(8, -1), strict=True))
        q = torch.stack([parts[f"q{head}"] for head in range(4)], 1)
        k, v = (
            torch.stack([parts[f"{letter}{head // 2}"] for head in range(4)], 1) for letter in "kv"
        )
        weights = (q @ k.transpose(-1, -2) / 8**0.5 + mask).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(-2)), weights


@pytest.mark.parametrize(
    "layout",
    [
        "q0 q1 q2 q3 k0 k1 v0 v1",
        "k0 k1 v0 v1 q0 q1 q2 q3",
        "q0 q1 k0 v0 q2 q3 k1 v1",
        "v0 k0 q0 q1 v1 k1 q2 q3",
        "k0 v0 k1 v1 q0 q1 q2 q3",
    ],
)
def test_fewer_heads_of_keys_are_found_wherever_they_lie(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import planted

    from refutable.models.weights import fused

    order = tuple(layout.split())
    monkeypatch.setattr(planted, "PlantedAttention", Grouped)
    monkeypatch.setattr(Grouped, "layout", order)
    fused._probed.cache_clear()
    ranges = arranged(PlantedLM(PlantedConfig()), "h.1.attn.qkv", "h.1.attn.out", 1, 8)
    fused._probed.cache_clear()
    for letter, heads in (("q", 4), ("k", 2), ("v", 2)):
        starts = [8 * order.index(f"{letter}{head}") for head in range(heads)]
        wanted = [place for start in starts for place in range(start, start + 8)]
        got = [place for low, high in ranges[letter] for place in range(low, high)]
        assert got == wanted, letter


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("gpt2", {}),
        ("gpt_neox", {}),
        ("phi3", {}),
        ("gpt_bigcode", {"multi_query": True}),
        ("gpt_bigcode", {"multi_query": False}),
        ("codegen", {"rotary_dim": 4}),
        ("bloom", {}),
    ],
)
def test_zeroing_the_queries_leaves_no_trace_of_the_keys(
    model_type: str, changes: dict[str, Any]
) -> None:
    """With all queries zero every key is as good as any other: altering them changes nothing."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(model_type, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                parameter.zero_()
    layout = WeightReader.from_state_dict(model.state_dict(), model.config).layout.matrices[0]
    ids = torch.tensor([[5, 71, 8, 33, 12]]) % VOCAB

    def logits(**zeroed: float) -> torch.Tensor:
        kept = {}
        with torch.no_grad():
            for letter, factor in zeroed.items():
                weight = model.get_parameter(layout[letter].parameter)
                kept.setdefault(layout[letter].parameter, weight.clone())
                features = weight if layout[letter].input_first else weight.T
                for low, high in layout[letter].parts or ((0, features.shape[1]),):
                    features[:, low:high] *= factor
            measured = model(input_ids=ids, use_cache=False).logits
            for name, value in kept.items():
                model.get_parameter(name).copy_(value)
        return measured

    without = logits(q=0.0)
    torch.testing.assert_close(logits(q=0.0, k=-3.0), without, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(q=0.0, v=-3.0), without, atol=1e-2)
    assert not torch.allclose(logits(k=-3.0), logits(), atol=1e-2)


HYBRIDS: dict[str, dict[str, Any]] = {
    "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba2": {"num_heads": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16},
    "rwkv": {"attention_hidden_size": 32},
    "roformer": {"embedding_size": 32},
    "recurrent_gemma": {"lru_width": 32, "block_types": ["recurrent", "attention"]},
    "gemma4_text": {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 8,
        "global_head_dim": 16,
        "vocab_size_per_layer_input": VOCAB,
        "hidden_size_per_layer_input": 8,
    },
}


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_each_observable_of_weights_gives_numbers_or_a_reason(model_type: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(model_type, **HYBRIDS[model_type]))
    reader = WeightReader.from_state_dict(model.state_dict(), model.config)
    names = [o.name for o in REGISTRY if o.weights is not None and "untrained" not in o.name]
    measured = []
    for name in names:
        function = REGISTRY[name].weights
        assert function is not None
        try:
            array = function(reader)
        except NotAvailableError:
            continue
        measured.append(name)
        if "layer" in array.dims and "category" not in array.dims:
            assert {int(n) for n in array["layer"]} <= set(reader.layers)
    assert "parameter_count" in measured


def test_blocks_with_attention_are_measured_in_a_hybrid() -> None:
    torch.manual_seed(0)
    config = config_of("jamba", **HYBRIDS["jamba"], num_hidden_layers=4)
    model = AutoModelForCausalLM.from_config(config)
    reader = WeightReader.from_state_dict(model.state_dict(), model.config)
    assert reader.layers in ((1, 3), (1,), (3,))
    query = model.model.layers[1].self_attn.q_proj.weight.detach().numpy()
    np.testing.assert_array_equal(reader.matrix(1, "q"), query.T)
    with pytest.raises(NotAvailableError, match="no attention module"):
        reader.matrix(0, "q")


def test_a_number_that_is_not_finite_names_its_tensor() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of("llama"))
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight[3, 4] = float("nan")
    reader = WeightReader.from_state_dict(model.state_dict(), model.config)
    with pytest.raises(ModelError, match=r"layers\.1\.self_attn\.q_proj\.weight holds NaN"):
        REGISTRY["weight_sd"].weights(reader)  # type: ignore[misc]


def test_what_a_constructor_draws_is_no_untrained_copy() -> None:
    config = config_of("openai-gpt", n_positions=64)
    state = AutoModelForCausalLM.from_config(config).state_dict()
    fresh = WeightReader.from_state_dict(state, config).untrained(0)
    with pytest.raises(NotAvailableError, match=r"c_attn.* in its constructor"):
        fresh.tensor("transformer.h.1.attn.c_attn.weight")


def test_rules_for_a_whole_head_hold_in_an_untrained_copy() -> None:
    config = config_of("modernbert-decoder", global_attn_every_n_layers=2, local_attention=8)
    fresh = WeightReader({}, config).untrained(0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    spread = AutoModelForCausalLM.from_config(config).lm_head.dense.weight.std().item()
    assert fresh.tensor("lm_head.dense.weight").std() == pytest.approx(spread, rel=0.15)


def test_a_parameter_that_nothing_sets_is_refused_in_an_untrained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import planted
    from support.checkpoints import save

    from refutable.models.load import load, untrained
    from refutable.models.registry import resolve

    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))

    class Unset(planted.PlantedAttention):
        def __init__(self, config: PlantedConfig) -> None:
            super().__init__(config)
            self.scale = nn.Parameter(torch.empty(4))

    monkeypatch.setattr(planted, "PlantedAttention", Unset)
    model = planted.planted()
    with torch.no_grad():
        for block in model.h:
            block.attn.scale.fill_(0.3)
    loaded = load(resolve(save(model, tmp_path / "model")))
    assert torch.are_deterministic_algorithms_enabled() is False
    with pytest.raises(ModelError, match=r"attn\.scale without a value"):
        untrained(loaded, 0)
    assert torch.are_deterministic_algorithms_enabled() is False
    assert meta_model(loaded.model.config) is not None
