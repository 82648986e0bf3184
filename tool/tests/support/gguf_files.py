"""GGUF files of small models, written here from weights that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch


def write_gguf(
    path: Path,
    model: Any,
    *,
    state: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    factors: np.ndarray[Any, Any] | None = None,
) -> None:
    """Write a Llama of transformers as a float32 GGUF file with a tokenizer of bytes."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    state(writer)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    # Printable ASCII but its last two characters, whose places two merged tokens take.
    letters = [chr(33 + at) for at in range(config.vocab_size - 5)]
    tokens = ["<s>", "</s>", "<unk>", *letters, "th", "in"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 2] + [1] * (config.vocab_size - 3))
    writer.add_token_merges(["t h", "i n"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    ends = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name, value in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem in ends:
            target = ends[stem]
        else:
            _, _, layer, part = stem.split(".", 3)
            target = f"blk.{layer}.{names[part]}"
            if part.endswith("q_proj"):
                value = _interleaved(value, config.num_attention_heads)
            if part.endswith("k_proj"):
                value = _interleaved(value, config.num_key_value_heads)
        writer.add_tensor(f"{target}.weight", value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Order of query and key rows in a GGUF llama: rotary halves become neighbours."""
    size = weight.shape[0] // heads // 2
    return weight.view(heads, 2, size, -1).transpose(1, 2).reshape(weight.shape)
