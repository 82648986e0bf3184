"""Further faults and harmless copies: heads and groups, folded gains, tokens that were added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.faults import Fault, head_size, scaled, untie
from support.more_faults import EMBEDDING, PART, exchanged, noisy, put, values_rotated
from support.release_files import edit, read_config, tensors, tokenizer_json


def head_turned(folder: Path, layer: int = 2) -> None:
    """Turn the keys of the first head by an orthogonal matrix, and no query."""
    size = head_size(folder)
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(5))
    turn = torch.linalg.qr(drawn)[0]

    def change(held: dict[str, torch.Tensor]) -> None:
        name = PART.format(layer, "self_attn.k_proj")
        held[name][:size] = turn @ held[name][:size]

    edit(folder, change)


def head_scaled(folder: Path) -> None:
    """Untie the head from the embedding and multiply it."""
    untie(folder)
    scaled(folder, "lm_head.weight", 1.05)


def shifted(matrix: torch.Tensor) -> torch.Tensor:
    return torch.roll(matrix, 1, 0)


def groups_mixed(folder: Path, layer: int = 1) -> None:
    """Exchange query heads of two groups, with their outputs: they now read other keys."""
    size, stated = head_size(folder), read_config(folder)
    per = stated["num_attention_heads"] // stated["num_key_value_heads"]

    def change(held: dict[str, torch.Tensor]) -> None:
        for part, dim in (("q", 0), ("o", 1)):
            name = PART.format(layer, f"self_attn.{part}_proj")
            parts = list(held[name].split(size, dim))
            parts[0], parts[per] = parts[per], parts[0]
            held[name] = torch.cat(parts, dim)

    edit(folder, change)


def special_added(folder: Path) -> None:
    """Add a special token in the place of a plain one."""

    def change(stated: dict[str, Any]) -> None:
        place = max(one["id"] for one in stated["added_tokens"]) + 300
        token = next(t for t, i in stated["model"]["vocab"].items() if i == place)
        first = stated["added_tokens"][0]
        stated["added_tokens"].append({**first, "id": place, "content": token, "special": True})

    tokenizer_json(folder, change)


def another_eos(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "eos_token": "Ġof"}))


def half_folded(folder: Path, layer: int = 1) -> None:
    """Fold a gain into one of the two matrices behind it: the other reads another stream now."""

    def change(held: dict[str, torch.Tensor]) -> None:
        norm, gate = (
            PART.format(layer, "post_attention_layernorm"),
            PART.format(layer, "mlp.gate_proj"),
        )
        held[gate] = held[gate] * held[norm]
        held[norm] = torch.ones_like(held[norm])

    edit(folder, change)


# -- the same release ----------------------------------------------------------------------------


def gains_folded(folder: Path) -> None:
    """Fold both gains of every block, and the final one into a head of its own."""
    untie(folder)

    def change(held: dict[str, torch.Tensor]) -> None:
        for layer in range(read_config(folder)["num_hidden_layers"]):
            for norm, parts in (
                ("input_layernorm", [f"self_attn.{part}_proj" for part in "qkv"]),
                ("post_attention_layernorm", ["mlp.gate_proj", "mlp.up_proj"]),
            ):
                gain = held[PART.format(layer, norm)]
                for part in parts:
                    name = PART.format(layer, part)
                    held[name] = held[name] * gain
                held[PART.format(layer, norm)] = torch.ones_like(gain)
        held["lm_head.weight"] = held["lm_head.weight"] * held["model.norm.weight"]
        held["model.norm.weight"] = torch.ones_like(held["model.norm.weight"])

    edit(folder, change)


def neurons_rescaled(folder: Path, layer: int = 2) -> None:
    """Multiply each neuron's input by a number of its own, and divide its output by it."""

    def change(held: dict[str, torch.Tensor]) -> None:
        up, down = (PART.format(layer, f"mlp.{part}_proj") for part in ("up", "down"))
        source = torch.Generator().manual_seed(3)
        factors = 2.0 ** torch.randint(-2, 3, (held[up].shape[0],), generator=source)
        held[up], held[down] = held[up] * factors[:, None], held[down] / factors

    edit(folder, change)


def described(folder: Path) -> None:
    """Write other words into the head of the weights' file."""
    held = tensors(folder)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt", "made_by": "someone"})


def all_values_rotated(folder: Path) -> None:
    for layer in range(read_config(folder)["num_hidden_layers"]):
        values_rotated(folder, layer)


FAULTS = (
    Fault(
        "faint noise in one matrix", put(PART.format(1, "mlp.down_proj"), noisy(0.01)),
        r"layers\.1\.mlp\.down_proj\.weight differs: relative change 0\.01",
    ),
    Fault(
        "keys and values exchanged",
        exchanged(PART.format(1, "self_attn.k_proj"), PART.format(1, "self_attn.v_proj")),
        r"layers\.1\.self_attn\.k_proj\.weight and .*v_proj\.weight swapped",
    ),
    Fault("one head's keys turned", head_turned, r"head 0 of .*layers\.2\.self_attn\.k_proj"),
    Fault("head untied and scaled", head_scaled, r"lm_head\.weight rescaled by 1\.05"),
    Fault(
        "embedding rows shifted by one", put(EMBEDDING, shifted),
        r"model\.embed_tokens\.weight permuted",
    ),
    Fault("query heads in other groups", groups_mixed, r"q_proj\.weight (swapped|permuted)"),
    Fault(
        "gain folded into one of two", half_folded,
        r"mlp\.gate_proj\.weight, .*post_attention_layernorm.* rescaled against each other",
    ),
    Fault("special token added", special_added, "added tokens differ"),
    Fault("another EOS", another_eos, "EOS token .* -> 'Ġof'"),
)  # fmt: skip

HARMLESS = (
    Fault("gains of all blocks folded", gains_folded, "rewritten consistently"),
    Fault("values of all blocks rotated", all_values_rotated, ""),
    Fault("neurons rescaled one by one", neurons_rescaled, "rewritten consistently"),
    Fault("other words in the weights' file", described, ""),
)  # fmt: skip
