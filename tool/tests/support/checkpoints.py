"""Tiny checkpoints on disk that look trained: no gain is exactly 1 and no matrix is fresh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB = 97


def gpt2(**changes: Any) -> Any:
    fields = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": VOCAB}
    config = GPT2Config(**{**fields, "bos_token_id": 0, "eos_token_id": 0, **changes})
    return trained(GPT2LMHeadModel(config))


def llama(**changes: Any) -> Any:
    fields = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "vocab_size": VOCAB,
    }
    return trained(LlamaForCausalLM(LlamaConfig(**{**fields, **changes})))


def trained(model: Any, seed: int = 0) -> Any:
    """Move every parameter away from its initial value, as training does."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=source)
    return model.eval()


def save(model: Any, folder: Path, **state: torch.Tensor | None) -> str:
    """Save a model; named tensors are replaced in the file, or left out when ``None``."""
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)
    if state:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        for name, value in state.items():
            if value is None:
                del tensors[name]
            else:
                tensors[name] = value
        save_file(tensors, path, metadata={"format": "pt"})
    return str(folder)


def edit_config(folder: Path, **fields: Any) -> None:
    """Change fields of a saved model's config."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **fields}), encoding="utf-8")
