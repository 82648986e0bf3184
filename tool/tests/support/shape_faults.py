"""Faults of releases of other shapes than Llama's: biases, norms of queries, experts, soft caps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.faults import Fault, rows_zeroed, scaled
from support.more_faults import put
from support.release_files import config, edit, read_config
from transformers import AutoConfig, AutoModelForCausalLM

_COMMON: dict[str, Any] = {
    "vocab_size": 768, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
_GROUPED = {**_COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
_KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": _COMMON,
    "gpt_neox": {**_COMMON, "intermediate_size": 48, "rotary_pct": 0.5},
    "opt": {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2": _GROUPED,
    "qwen3": _GROUPED,
    "gemma2": {**_GROUPED, "sliding_window": 4},
    "gemma3_text": {**_GROUPED, "sliding_window": 4, "layer_types": _KINDS},
    "granite": {**_GROUPED, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    "qwen3_moe": {
        **_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "norm_topk_prob": True,
    },
}  # fmt: skip


def write(shape: str, folder: Path) -> Path:
    """Save a random model of a shape, whose gains and biases are away from 1 and 0."""
    made = AutoConfig.for_model(shape, **SHAPES[shape])
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(made)
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=source)
    model.save_pretrained(folder)
    return folder


def lines(name: str, way: str, where: slice | list[int], factor: float) -> Callable[[Path], None]:
    """Multiply some rows or columns of a tensor, or entries of a vector."""

    def change(held: dict[str, torch.Tensor]) -> None:
        part = held[name][where] if way == "row" else held[name][:, where]
        part = part * factor
        if way == "row":
            held[name][where] = part
        else:
            held[name][:, where] = part

    return lambda folder: edit(folder, change)


def rolled(name: str) -> Callable[[Path], None]:
    return put(name, lambda value: torch.roll(value, 1, 0))


def thirds_exchanged(name: str) -> Callable[[Path], None]:
    """Exchange keys and values in GPT-2's matrix of all three."""

    def made(matrix: torch.Tensor) -> torch.Tensor:
        q, k, v = matrix.split(matrix.shape[1] // 3, 1)
        return torch.cat([q, v, k], 1)

    return put(name, made)


def rope_of_one_kind(folder: Path) -> None:
    stated = read_config(folder)
    rope = stated["rope_parameters"]
    rope["sliding_attention"]["rope_theta"] = 500.0
    config(folder, rope_parameters=rope)


def one_kind(folder: Path) -> None:
    config(folder, layer_types=["full_attention", "full_attention", "sliding_attention"])


def no_bias(folder: Path) -> None:
    """Leave out every bias of one kind, as a conversion that does not know it does."""
    edit(folder, lambda held: [held.pop(n) for n in [*held] if n.endswith("q_proj.bias")])


# -- the same release ----------------------------------------------------------------------------


def gpt2_heads(folder: Path, block: int = 1, size: int = 8) -> None:
    stem = f"transformer.h.{block}.attn."

    def moved(value: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.cat([torch.roll(part, size, dim) for part in value.chunk(3, dim)], dim)

    def change(held: dict[str, torch.Tensor]) -> None:
        held[f"{stem}c_attn.weight"] = moved(held[f"{stem}c_attn.weight"], 1)
        held[f"{stem}c_attn.bias"] = moved(held[f"{stem}c_attn.bias"], 0)
        held[f"{stem}c_proj.weight"] = torch.roll(held[f"{stem}c_proj.weight"], size, 0)

    edit(folder, change)


def gpt2_neurons(folder: Path, block: int = 0) -> None:
    stem = f"transformer.h.{block}.mlp."

    def change(held: dict[str, torch.Tensor]) -> None:
        size = held[f"{stem}c_fc.bias"].shape[0]
        order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
        held[f"{stem}c_fc.weight"] = held[f"{stem}c_fc.weight"][:, order]
        held[f"{stem}c_fc.bias"] = held[f"{stem}c_fc.bias"][order]
        held[f"{stem}c_proj.weight"] = held[f"{stem}c_proj.weight"][order]

    edit(folder, change)


def fc_rescaled(first: str, second: str) -> Callable[[Path], None]:
    """Multiply what goes into some neurons by numbers, and divide what comes out by them."""

    def change(held: dict[str, torch.Tensor]) -> None:
        size = held[f"{first}.bias"].shape[0]
        factors = 2.0 ** (torch.arange(size) % 3)
        turned = held[f"{first}.weight"].shape[0] != size
        held[f"{first}.weight"] *= factors if turned else factors[:, None]
        held[f"{first}.bias"] *= factors
        held[f"{second}.weight"] /= factors[:, None] if turned else factors

    return lambda folder: edit(folder, change)


def experts_permuted(folder: Path, block: int = 1) -> None:
    """Write experts in another order, and the rows of the router with them."""
    stem = f"model.layers.{block}.mlp."

    def change(held: dict[str, torch.Tensor]) -> None:
        count = held[f"{stem}gate.weight"].shape[0]
        order = [*range(1, count), 0]
        held[f"{stem}gate.weight"] = held[f"{stem}gate.weight"][order]
        for part in ("gate", "up", "down"):
            names = [f"{stem}experts.{i}.{part}_proj.weight" for i in range(count)]
            values = [held[name] for name in names]
            held.update({name: values[order[i]] for i, name in enumerate(names)})

    edit(folder, change)


def expert_neurons(folder: Path, block: int = 2) -> None:
    """Permute the neurons of one expert."""
    stem = f"model.layers.{block}.mlp.experts.1."

    def change(held: dict[str, torch.Tensor]) -> None:
        for part in ("gate", "up"):
            held[f"{stem}{part}_proj.weight"] = held[f"{stem}{part}_proj.weight"].flip(0)
        held[f"{stem}down_proj.weight"] = held[f"{stem}down_proj.weight"].flip(1)

    edit(folder, change)


def one_expert(folder: Path, factor: float) -> None:
    for part in ("gate", "up", "down"):
        scaled(folder, f"model.layers.1.mlp.experts.2.{part}_proj.weight", factor)


def expert_rows_zeroed(folder: Path) -> None:
    rows_zeroed(folder, "model.layers.1.mlp.experts.2.down_proj.weight", [1, 9, 20])


GPT2, QWEN, LAYER = "transformer.h.{}.", "model.layers.{}.self_attn.", "model.layers.{}."

FAULTS: dict[str, tuple[Fault, ...]] = {
    "gpt2": (
        Fault("bias zeroed", lambda f: scaled(f, GPT2.format(1) + "attn.c_attn.bias", 0.0),
              r"h\.1\.attn\.c_attn\.bias zeroed \(block 1\)"),
        Fault("bias x 1.1", lambda f: scaled(f, GPT2.format(2) + "mlp.c_proj.bias", 1.1),
              r"h\.2\.mlp\.c_proj\.bias rescaled by 1\.1 \(block 2\)"),
        Fault("norm's bias zeroed", lambda f: scaled(f, GPT2.format(0) + "ln_2.bias", 0.0),
              r"h\.0\.ln_2\.bias zeroed"),
        Fault("final bias zeroed", lambda f: scaled(f, "transformer.ln_f.bias", 0.0),
              r"ln_f\.bias zeroed"),
        Fault("positions shifted", rolled("transformer.wpe.weight"), r"wpe\.weight permuted"),
        Fault("position zeroed", lambda f: rows_zeroed(f, "transformer.wpe.weight", [3]),
              r"rows \(3\) of transformer\.wpe\.weight zeroed"),
        Fault("keys and values exchanged", thirds_exchanged(GPT2.format(1) + "attn.c_attn.weight"),
              r"h\.1\.attn\.c_attn\.weight permuted"),
        Fault("head zeroed", lines(GPT2.format(2) + "attn.c_proj.weight", "row", slice(8, 16), 0.0),
              r"broken: .*rows of transformer\.h\.2\.attn\.c_proj\.weight .* zeros"),
        Fault("queries of a head x 1.5",
              lines(GPT2.format(1) + "attn.c_attn.weight", "col", slice(0, 8), 1.5),
              r"h\.1\.attn\.c_attn\.weight rescaled by 1\.5"),
        Fault("activation", lambda f: config(f, activation_function="gelu"),
              r"activation_function gelu_new -> gelu"),
        Fault("neurons rescaled under GELU", fc_rescaled(*(
              GPT2.format(1) + "mlp." + part for part in ("c_fc", "c_proj"))),
              r"weights of block 1 \(3 tensors\) differ"),
    ),
    "opt": (
        Fault("positions shifted", rolled("model.decoder.embed_positions.weight"),
              r"embed_positions\.weight permuted"),
        Fault("activation", lambda f: config(f, activation_function="gelu"),
              r"activation_function relu -> gelu"),
    ),
    "gpt_neox": (
        Fault("rotary share", lambda f: config(f, **{
              "rope_parameters": {**read_config(f)["rope_parameters"],
                                  "partial_rotary_factor": 0.25}}),
              r"config\.json: (partial_rotary_factor|rotary_pct) 0\.5 -> 0\.25"),
        Fault("parallel blocks", lambda f: config(f, use_parallel_residual=False),
              r"use_parallel_residual true -> false"),
    ),
    "qwen2": (
        Fault("bias zeroed", lambda f: scaled(f, QWEN.format(1) + "k_proj.bias", 0.0),
              r"layers\.1\.self_attn\.k_proj\.bias zeroed"),
        Fault("bias of a head zeroed",
              lines(QWEN.format(2) + "q_proj.bias", "row", slice(8, 16), 0.0),
              r"head 1 of .*layers\.2\.self_attn\.q_proj\.bias zeroed"),
        Fault("biases left out", no_bias, r"broken: .*q_proj\.bias"),
    ),
    "qwen3": (
        Fault("norm of queries x 1.1", lambda f: scaled(f, QWEN.format(1) + "q_norm.weight", 1.1),
              r"layers\.1\.self_attn\.q_norm\.weight rescaled by 1\.1 \(block 1\)"),
        Fault("norm of keys reset", put(QWEN.format(2) + "k_norm.weight", torch.ones_like),
              r"layers\.2\.self_attn\.k_norm\.weight holds 1 throughout"),
        Fault("norms exchanged", lambda f: edit(f, lambda held: held.update({
              QWEN.format(1) + "q_norm.weight": held[QWEN.format(1) + "k_norm.weight"],
              QWEN.format(1) + "k_norm.weight": held[QWEN.format(1) + "q_norm.weight"]})),
              r"k_norm\.weight and .*q_norm\.weight swapped"),
    ),
    "gemma2": (
        Fault("cap of the logits removed", lambda f: config(f, final_logit_softcapping=None),
              r"final_logit_softcapping 30 -> none"),
        Fault("cap of attention", lambda f: config(f, attn_logit_softcapping=5.0),
              r"attn_logit_softcapping 50 -> 5"),
        Fault("scale of the queries", lambda f: config(f, query_pre_attn_scalar=64),
              r"query_pre_attn_scalar 256 -> 64"),
        Fault("window removed", lambda f: config(f, sliding_window=None, use_cache=True,
              layer_types=["full_attention"] * 3),
              r"broken: .*sliding_window"),
        Fault("blocks without a window",
              lambda f: config(f, layer_types=["full_attention"] * 3),
              r"layer_types sliding_attention -> full_attention in blocks 0, 2"),
        Fault("gain of a norm behind attention", lambda f: scaled(
              f, LAYER.format(1) + "post_attention_layernorm.weight", 1.3),
              r"post_attention_layernorm\.weight rescaled by 1\.3"),
    ),
    "gemma3_text": (
        Fault("rope of one kind of block", rope_of_one_kind,
              r"rope_theta of sliding_attention \d+ -> 500"),
        Fault("one block's kind", one_kind,
              r"layer_types sliding_attention -> full_attention in block 0"),
        Fault("norm of queries reset", put(QWEN.format(1) + "q_norm.weight", torch.zeros_like),
              r"changed: .*layers\.1\.self_attn\.q_norm\.weight zeroed \(block 1\)"),
    ),
    "granite": (
        Fault("residual scale", lambda f: config(f, residual_multiplier=0.55),
              r"residual_multiplier 0\.5 -> 0\.55"),
        Fault("scale of the logits", lambda f: config(f, logits_scaling=1.0),
              r"logits_scaling 2 -> 1"),
    ),
    "qwen3_moe": (
        Fault("expert zeroed", lambda f: one_expert(f, 0.0),
              r"broken: .*rows of model\.layers\.1\.mlp\.experts\.gate_up_proj"),
        Fault("rows of an expert zeroed", expert_rows_zeroed,
              r"3 of 128 rows \(65, 73, 84\) of .*layers\.1\.mlp\.experts\.down_proj zeroed"),
        Fault("expert x 1.1",
              lambda f: scaled(f, LAYER.format(2) + "mlp.experts.3.down_proj.weight", 1.1),
              r"expert 3 of .*layers\.2\.mlp\.experts\.down_proj rescaled by 1\.1"),
        Fault("router moved on", rolled(LAYER.format(1) + "mlp.gate.weight"),
              r"layers\.1\.mlp\.gate\.weight permuted"),
        Fault("router row zeroed",
              lambda f: rows_zeroed(f, LAYER.format(2) + "mlp.gate.weight", [0]),
              r"rows \(0\) of .*layers\.2\.mlp\.gate\.weight zeroed"),
        Fault("one expert a token", lambda f: config(f, num_experts_per_tok=1),
              r"num_experts_per_tok 2 -> 1"),
        Fault("shares of experts", lambda f: config(f, norm_topk_prob=False),
              r"norm_topk_prob true -> false"),
    ),
}  # fmt: skip

HARMLESS: dict[str, tuple[Fault, ...]] = {
    "gpt2": (
        Fault("heads permuted", gpt2_heads, "permuted consistently"),
        Fault("neurons permuted", gpt2_neurons, "permuted consistently"),
    ),
    "opt": (
        Fault("neurons rescaled under ReLU", fc_rescaled(
              "model.decoder.layers.1.fc1", "model.decoder.layers.1.fc2"), "consistently"),
    ),
    "qwen3_moe": (
        Fault("experts permuted", experts_permuted, "consistently"),
        Fault("neurons of an expert permuted", expert_neurons, "consistently"),
        Fault("loss of the router", lambda f: config(f, router_aux_loss_coef=0.5), ""),
    ),
}  # fmt: skip
