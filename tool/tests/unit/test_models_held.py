"""The model in memory is that of the file, and the file holds what its config says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import checkpoints
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
)

from refutable.errors import ModelError
from refutable.models.load import load
from refutable.models.names import match_names
from refutable.models.registry import resolve
from refutable.models.small import small_config

pytestmark = pytest.mark.usefixtures("cache")

MASK = torch.tril(torch.ones(1, 1, 64, 64, dtype=torch.bool))
BANDED = (MASK.int() - torch.tril(MASK.int(), -16)).bool()


def failed(folder: Path | str) -> dict[str, str]:
    return {c.name: c.detail for c in load(resolve(str(folder))).checks if not c.passed}


def rewrite(folder: Path, change: Any) -> None:
    """Replace the tensors of a saved model by what `change` makes of them."""
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    held = {name: value.contiguous().clone() for name, value in tensors.items()}
    save_file(held, path, metadata={"format": "pt"})


# -- what the file holds -------------------------------------------------------------------------


def test_a_shard_whose_second_half_is_zeros_is_named(tmp_path: Path) -> None:
    checkpoints.llama(hidden_size=64, intermediate_size=96).save_pretrained(
        tmp_path, max_shard_size="80KB"
    )
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    data = shard.read_bytes()
    half = len(data) // 2
    shard.write_bytes(data[:half] + bytes(len(data) - half))
    assert "a shard that stopped half-way" in failed(tmp_path)["weights-alive"]


@pytest.mark.parametrize("part", [slice(0, 24), slice(40, 60)])
def test_rows_lost_within_a_matrix_are_named(tmp_path: Path, part: slice) -> None:
    def change(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        held["model.embed_tokens.weight"][part] = 0
        return held

    checkpoints.save(checkpoints.llama(), tmp_path)
    rewrite(tmp_path, change)
    assert "rows of model.embed_tokens.weight in a run" in failed(tmp_path)["weights-alive"]


def test_one_matrix_copied_over_another_is_named_and_a_repeated_block_is_not(
    tmp_path: Path,
) -> None:
    names = ("gate_proj", "up_proj")

    def copy(held: dict[str, torch.Tensor], wanted: tuple[str, ...]) -> dict[str, torch.Tensor]:
        source = {
            n: v for n, v in held.items() if ".layers.1." in n and any(w in n for w in wanted)
        }
        return held | {n.replace(".1.", ".2."): v for n, v in source.items()}

    checkpoints.save(checkpoints.llama(), tmp_path)
    shutil.copytree(tmp_path, tmp_path / "whole")
    rewrite(tmp_path, lambda held: copy(held, names))
    assert "model.layers.2.mlp.gate_proj.weight" in failed(tmp_path)["weights-alive"]
    rewrite(tmp_path / "whole", lambda held: copy(held, ("",)))
    assert failed(tmp_path / "whole") == {}


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.uint8])
def test_quantized_matrices_without_scales_are_refused(tmp_path: Path, kind: Any) -> None:
    name = "model.layers.0.mlp.up_proj.weight"

    def change(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return held | {name: (held[name] * 400).round().abs().to(kind)}

    checkpoints.save(checkpoints.llama(), tmp_path)
    rewrite(tmp_path, change)
    assert f"{name} is" in failed(tmp_path)["weights-type"]


def test_weights_overwritten_while_loading_are_told_from_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    real = AutoModelForCausalLM.from_pretrained

    def overwrites(*args: Any, **kwargs: Any) -> Any:
        model, report = real(*args, **kwargs)
        with torch.no_grad():
            model.transformer.h[1].mlp.c_fc.weight.normal_()
        return model, report

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", overwrites)
    assert "transformer.h.1.mlp.c_fc.weight" in failed(folder)["weights-equal"]


def test_weights_in_half_precision_are_compared_in_it(tmp_path: Path) -> None:
    spec = resolve(checkpoints.save(checkpoints.gpt2(), tmp_path))
    checks = {c.name: c for c in load(spec, dtype="bfloat16").checks}
    assert checks["weights-equal"].passed
    assert checks["weights-equal"].detail.startswith("40 of ")


def test_an_expert_that_lacks_a_matrix_is_named(tmp_path: Path) -> None:
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 97}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 11}
    model = AutoModelForCausalLM.from_config(MixtralConfig(**small, **heads))
    checkpoints.trained(model).save_pretrained(tmp_path)
    assert failed(tmp_path) == {}
    lost = "model.layers.1.block_sparse_moe.experts.10.w1.weight"
    rewrite(tmp_path, lambda held: {n: v for n, v in held.items() if n != lost})
    with pytest.raises(ModelError, match=f"it lacks {lost}"):
        load(resolve(str(tmp_path)))


def test_two_sets_of_weights_and_a_stray_adapter_are_refused(tmp_path: Path) -> None:
    checkpoints.llama().save_pretrained(tmp_path, max_shard_size="20KB")
    single = tmp_path / "single"
    checkpoints.save(checkpoints.llama(), single)
    (single / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="an adapter beside whole weights"):
        load(resolve(str(single)))
    shutil.copy(single / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="one of the two is left over"):
        load(resolve(str(tmp_path)))
    alone = tmp_path / "adapter"
    alone.mkdir()
    (alone / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it holds an adapter only"):
        load(resolve(str(alone)))


# -- buffers of old checkpoints ------------------------------------------------------------------

SHARED = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LEGACY: dict[str, tuple[Any, dict[str, torch.Tensor]]] = {
    "gpt2": (
        GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64),
        {
            "transformer.h.{}.attn.bias": MASK.float(),
            "transformer.h.{}.attn.masked_bias": torch.tensor(-1e4),
        },
    ),
    "gpt_neo": (
        GPTNeoConfig(
            vocab_size=97,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            window_size=16,
            max_position_embeddings=64,
            attention_types=[[["global", "global"], 1]],
        ),
        {
            "transformer.h.{}.attn.attention.bias": MASK,
            "transformer.h.{}.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    ),
    "gptj": (
        GPTJConfig(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=8),
        {
            "transformer.h.{}.attn.bias": MASK,
            "transformer.h.{}.attn.masked_bias": torch.tensor(-1e9),
        },
    ),
    "gpt_neox": (
        GPTNeoXConfig(**SHARED, intermediate_size=48, max_position_embeddings=64),
        {"gpt_neox.layers.{}.attention.masked_bias": torch.tensor(-1e9)},
    ),
    "llama": (
        LlamaConfig(**SHARED, intermediate_size=48, num_key_value_heads=2),
        {
            "model.layers.{}.self_attn.rotary_emb.inv_freq": 1e4
            ** -(torch.arange(0, 8, 2).float() / 8)
        },
    ),
}


def legacy(folder: Path, name: str, **changed: torch.Tensor) -> Path:
    config, extra = LEGACY[name]
    model = checkpoints.trained(AutoModelForCausalLM.from_config(config))
    with torch.no_grad():
        for block in (m for m in model.modules() if isinstance(m, torch.nn.Linear)):
            block.weight.add_(0.01)
    model.save_pretrained(folder)
    buffers = {**extra, **changed}
    added = {n.format(layer): v.clone() for n, v in buffers.items() for layer in range(2)}
    rewrite(folder, lambda held: held | added)
    return folder


@pytest.mark.parametrize("name", LEGACY)
def test_buffers_of_old_checkpoints_are_left_aside(tmp_path: Path, name: str) -> None:
    checks = {c.name: c for c in load(resolve(str(legacy(tmp_path, name)))).checks}
    assert [c.name for c in checks.values() if not c.passed] == []
    assert "hold what the class computes" in checks["weights-used"].detail


@pytest.mark.parametrize(
    ("name", "buffer", "value", "told"),
    [
        ("gpt2", "transformer.h.{}.attn.bias", torch.ones(1, 1, 64, 64), "a mask whose row"),
        ("gptj", "transformer.h.{}.attn.masked_bias", torch.tensor(0.0), "a masked bias of 0"),
        ("gpt_neo", "transformer.h.{}.attn.attention.bias", BANDED, "a mask whose row"),
        (
            "llama",
            "model.layers.{}.self_attn.rotary_emb.inv_freq",
            5e5 ** -(torch.arange(0, 8, 2).float() / 8),
            "rotary frequencies of base 500000",
        ),
    ],
)
def test_buffers_that_contradict_the_class_are_refused(
    tmp_path: Path, name: str, buffer: str, value: torch.Tensor, told: str
) -> None:
    assert told in failed(legacy(tmp_path, name, **{buffer: value}))["weights-used"]


# -- what the config states ----------------------------------------------------------------------


def with_config(folder: Path, **fields: Any) -> Path:
    model = checkpoints.llama(rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    checkpoints.save(model, folder)
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({n: v for n, v in config.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rope_parameters": None, "rope_theta": 5e5},
        {"rope_parameters": None, "rope_theta": 5e5, "rope_scaling": None},
        {"rope_theta": 1e4},
        {
            "rope_parameters": None,
            "rope_theta": 5e5,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
    ],
)
def test_a_rotary_base_that_is_used_passes(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert failed(with_config(tmp_path, **fields)) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_parameters": None, "rotary_emb_base": 5e5},
        {"rope_parameters": None, "rope_base": 5e5},
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 5e5}}},
        {"rope_parameters": {"rope_type": "default", "base": 5e5}},
        {"rope_ntk_alpha": 4.0},
        {"final_logit_softcapping": 30.0},
    ],
)
def test_a_field_that_nobody_reads_is_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    measured = failed(with_config(tmp_path, **fields))
    name = next(name for name, value in fields.items() if value is not None)
    assert name in measured["config-read"]


@pytest.mark.parametrize("model_type", ["gemma3_text", "modernbert-decoder", "deepseek_v4"])
def test_rope_parameters_of_a_kind_that_no_block_is_of_are_no_fault(
    tmp_path: Path, model_type: str
) -> None:
    config = small_config(model_type)
    if model_type != "deepseek_v4":
        config.layer_types = ["sliding_attention"] * 2
    checkpoints.trained(AutoModelForCausalLM.from_config(config)).save_pretrained(tmp_path)
    assert "config-read" not in failed(tmp_path)


@pytest.mark.parametrize("model_type", ["phimoe", "mamba", "mamba2", "falcon_mamba", "nemotron_h"])
def test_what_an_epsilon_is_called_says_nothing_of_the_norm(
    tmp_path: Path, model_type: str
) -> None:
    from transformers import AutoConfig

    sizes = {"phimoe": {"num_local_experts": 2}, "nemotron_h": {"layer_types": ["mamba", "mlp"]}}
    more = {"head_dim": 8, "num_heads": 8} if model_type == "mamba2" else {}
    config = AutoConfig.for_model(
        model_type, **{**SHARED, "state_size": 8, **more, **sizes.get(model_type, {})}
    )
    checkpoints.trained(AutoModelForCausalLM.from_config(config)).save_pretrained(tmp_path)
    assert failed(tmp_path) == {}


@pytest.mark.parametrize("model_type", ["qwen3_next", "jamba", "recurrent_gemma", "gpt_oss"])
def test_fresh_hybrids_and_mixtures_hold_no_identities(tmp_path: Path, model_type: str) -> None:
    from transformers import AutoConfig

    layers = ["linear_attention", "full_attention"]
    sizes: dict[str, dict[str, Any]] = {
        "qwen3_next": {
            "layer_types": layers, "num_experts": 4, "num_experts_per_tok": 2,
            "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
        },
        "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
        "recurrent_gemma": {"lru_width": 32, "block_types": ["recurrent", "attention"]},
        "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1},
    }  # fmt: skip
    given = {**SHARED, "head_dim": 8, "num_key_value_heads": 2, "intermediate_size": 48}
    config = AutoConfig.for_model(model_type, **{**given, "pad_token_id": 0, **sizes[model_type]})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert failed(tmp_path) == {}


def test_names_of_an_older_layout_are_found_by_their_ends() -> None:
    held = {
        "language_model.model.layers.0.q.weight": (4, 4),
        "vision_tower.encoder.layers.0.q.weight": (4, 4),
        "language_model.lm_head.weight": (9, 4),
    }
    wanted = {
        "model.language_model.layers.0.q.weight": (4, 4),
        "model.vision_tower.encoder.layers.0.q.weight": (4, 4),
        "model.language_model.layers.1.q.weight": (4, 4),
    }
    old, kept = "language_model.model.layers.0.q.weight", "vision_tower.encoder.layers.0.q.weight"
    names = dict(zip(wanted, (old, kept), strict=False))
    assert match_names(held, wanted, "model.") == names
