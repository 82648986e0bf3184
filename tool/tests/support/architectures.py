"""Tiny random models of eleven architectures, made from their configs."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB = 97
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GROUPED = {**_COMMON, "intermediate_size": 48, "num_key_value_heads": 2}

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": _COMMON,
    "gpt_neox": {**_COMMON, "intermediate_size": 48},
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": 5},
    "gemma3_text": {
        **_GROUPED,
        "head_dim": 8,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "qwen3": {**_GROUPED, "head_dim": 8},
    "phi": {**_GROUPED, "partial_rotary_factor": 0.5},
    "gptj": {**_COMMON, "rotary_dim": 4},
    "opt": {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": _COMMON,
    "falcon": {**_COMMON, "alibi": False},
}
"""Model type to config. Windows are shorter than the longest prompt of the tests."""

PACKING_IS_WRONG = frozenset({"opt", "bloom", "falcon"})
"""Architectures whose packed run is silently wrong in transformers 5.23."""


def build(
    model_type: str,
    *,
    seed: int = 0,
    scale: float = 6.0,
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """Build a random model whose attention and logits are far from uniform.

    Weights are scaled up from the initialisation's .02, so that a wrong mask or position shows.
    """
    fields = CONFIGS[model_type] if config is None else config
    made = AutoConfig.for_model(model_type, **{**fields, **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(made)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
    return model.eval().requires_grad_(False)
