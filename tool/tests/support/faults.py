"""Copies of a Llama-shaped release with one fault each, and copies that are the same release.

`CHANGES` and `HARMLESS` take a folder that `save_pretrained` wrote and change it in place. Each
fault says in a regular expression what the first line of the gate must name as its cause.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.release_files import (
    config as config,
)
from support.release_files import copy as copy
from support.release_files import edit, read_config, tensors, tokenizer_json

Change = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    make: Change
    cause: str
    """What the first line must say."""
    failing: bool = True


# -- faults --------------------------------------------------------------------------------------


def rope_base(folder: Path) -> None:
    theta = read_config(folder)["rope_parameters"]["rope_theta"]
    config(folder, rope_parameters__rope_theta=50 * theta if theta < 5e4 else theta / 10)


def activation(folder: Path) -> None:
    config(folder, hidden_act="gelu")


def blocks(folder: Path, first: int, second: int, *, both: bool = True) -> None:
    def change(held: dict[str, torch.Tensor]) -> None:
        here, there = f".layers.{first}.", f".layers.{second}."
        for name in [n for n in held if here in n]:
            other = name.replace(here, there)
            one, two = held[name], held[other]
            held[other] = one
            if both:
                held[name] = two

    edit(folder, change)


def scaled(folder: Path, name: str, factor: float) -> None:
    edit(folder, lambda held: held.__setitem__(name, held[name] * factor))


def head_zeroed(folder: Path, layer: int, head: int) -> None:
    size = head_size(folder)

    def change(held: dict[str, torch.Tensor]) -> None:
        held[f"model.layers.{layer}.self_attn.o_proj.weight"][
            :, head * size : (head + 1) * size
        ] = 0

    edit(folder, change)


def head_size(folder: Path) -> int:
    stated = read_config(folder)
    return stated.get("head_dim") or stated["hidden_size"] // stated["num_attention_heads"]


def rows_zeroed(folder: Path, name: str, rows: slice | list[int]) -> None:
    edit(folder, lambda held: held[name].__setitem__(rows, 0.0))


def last_head_rows(folder: Path) -> None:
    untie(folder)
    size = read_config(folder)["vocab_size"]
    rows_zeroed(folder, "lm_head.weight", slice(size - max(68, size // 25), size))


def adds_bos(folder: Path) -> None:
    def change(stated: dict[str, Any]) -> None:
        bos = read_config(folder)["bos_token_id"]
        added = next(one for one in stated["added_tokens"] if one["id"] == bos)
        token, place = added["content"], added["id"]
        special = {"SpecialToken": {"id": token, "type_id": 0}}
        sequence = {"Sequence": {"id": "A", "type_id": 0}}
        stated["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [special, sequence],
            "pair": [special, sequence, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [place], "tokens": [token]}},
        }

    tokenizer_json(folder, change)


def tokens_swapped(folder: Path, first: str = "Ġthe", second: str = "Ġof") -> None:
    def change(stated: dict[str, Any]) -> None:
        vocabulary = stated["model"]["vocab"]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]

    tokenizer_json(folder, change)


def merges_cut(folder: Path) -> None:
    def change(stated: dict[str, Any]) -> None:
        merges = stated["model"]["merges"]
        stated["model"]["merges"] = merges[: len(merges) * 3 // 4]

    tokenizer_json(folder, change)


def chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    )


def epsilon(folder: Path) -> None:
    config(folder, rms_norm_eps=1e-2)


def rounded(folder: Path, bits: int, where: str = "") -> None:
    """Round each row of every matrix to so many bits, symmetrically about 0."""

    def change(held: dict[str, torch.Tensor]) -> None:
        for name, value in held.items():
            if value.ndim == 2 and where in name:
                step = value.float().abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
                step = step.clamp_min(1e-12)
                held[name] = ((value.float() / step).round() * step).to(value.dtype)

    edit(folder, change)


# -- the same release ----------------------------------------------------------------------------


def identical(folder: Path) -> None:
    """Change nothing."""


def bfloat16(folder: Path) -> None:
    edit(folder, lambda held: held.update({n: v.to(torch.bfloat16) for n, v in held.items()}))
    config(folder, dtype="bfloat16")


def resharded(folder: Path) -> None:
    held = tensors(folder)
    names = sorted(held)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({n: held[n].clone() for n in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def older_layout(folder: Path) -> None:
    """Save as versions before 5 did: a pickle, and the rotary base on top of the config."""
    held = tensors(folder)
    torch.save(held, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    rope = stated.pop("rope_parameters")
    stated |= {"rope_theta": rope["rope_theta"], "rope_scaling": None}
    stated |= {"transformers_version": "4.40.0", "torch_dtype": stated.pop("dtype", "float32")}
    path.write_text(json.dumps(stated))


def heads_permuted(folder: Path, layer: int = 1) -> None:
    size = head_size(folder)
    stated = read_config(folder)
    groups = stated["num_key_value_heads"]
    per = stated["num_attention_heads"] // groups
    order = torch.roll(torch.arange(groups), 1)

    def moved(value: torch.Tensor, each: int, dim: int) -> torch.Tensor:
        width = each * size
        parts = value.split(width, dim)
        return torch.cat([parts[i] for i in order], dim)

    def change(held: dict[str, torch.Tensor]) -> None:
        for part, each, dim in (("q", per, 0), ("k", 1, 0), ("v", 1, 0), ("o", per, 1)):
            name = f"model.layers.{layer}.self_attn.{part}_proj.weight"
            held[name] = moved(held[name], each, dim)

    edit(folder, change)


def neurons_permuted(folder: Path, layer: int = 1) -> None:
    def change(held: dict[str, torch.Tensor]) -> None:
        stem = f"model.layers.{layer}.mlp."
        size = held[f"{stem}up_proj.weight"].shape[0]
        order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
        for part in ("gate", "up"):
            held[f"{stem}{part}_proj.weight"] = held[f"{stem}{part}_proj.weight"][order]
        held[f"{stem}down_proj.weight"] = held[f"{stem}down_proj.weight"][:, order]

    edit(folder, change)


def untie(folder: Path) -> None:
    def change(held: dict[str, torch.Tensor]) -> None:
        held.setdefault("lm_head.weight", held["model.embed_tokens.weight"].clone())

    edit(folder, change)
    config(folder, tie_word_embeddings=False)


NORM = "model.layers.{}.input_layernorm.weight"

FAULTS = (
    Fault("rope base", rope_base, r"config\.json: rope_theta"),
    Fault("activation", activation, r"config\.json: hidden_act silu -> gelu"),
    Fault("blocks swapped", lambda f: blocks(f, 1, 2), "blocks 1 and 2 swapped"),
    Fault("block duplicated", lambda f: blocks(f, 1, 2, both=False), "block 2 duplicates block 1"),
    Fault(
        "norm gain x 1.1", lambda f: scaled(f, NORM.format(1), 1.1),
        r"layers\.1\.input_layernorm\.weight rescaled by 1\.1 \(block 1\)",
    ),
    Fault(
        "norm gain x 1.02", lambda f: scaled(f, NORM.format(2), 1.02),
        r"layers\.2\.input_layernorm\.weight rescaled by 1\.02 \(block 2\)",
    ),
    Fault(
        "final norm x 1.1", lambda f: scaled(f, "model.norm.weight", 1.1),
        r"model\.norm\.weight rescaled by 1\.1",
    ),
    Fault(
        "head zeroed", lambda f: head_zeroed(f, 1, 2),
        r"head 2 of .*o_proj.* zeroed \(block 1\)",
    ),
    Fault(
        "head's last rows zeroed", last_head_rows,
        r"rows \(\d+ to \d+\) of lm_head\.weight zeroed",
    ),
    Fault(
        "embedding row zeroed",
        lambda f: rows_zeroed(f, "model.embed_tokens.weight", [300]),
        r"rows \(300\) of model\.embed_tokens\.weight zeroed",
    ),
    Fault("BOS added", adds_bos, "tokenizer now adds BOS"),
    Fault("tokens swapped", tokens_swapped, "vocabulary: 2 entries swapped"),
    Fault("merges cut", merges_cut, "merges cut"),
    Fault("chat template", chat_template, "chat template (added|changed)", failing=False),
    Fault("epsilon", epsilon, r"config\.json: rms_norm_eps"),
    Fault("4 bits", lambda f: rounded(f, 4), "rounded to 4 bits"),
    Fault(
        "3 bits in one block", lambda f: rounded(f, 3, ".layers.2."),
        r"weights of block 2 .*rounded to 3 bits",
    ),
)  # fmt: skip

HARMLESS = (
    Fault("identical", identical, ""),
    Fault("bfloat16", bfloat16, ""),
    Fault("8 bits", lambda f: rounded(f, 8), ""),
    Fault("re-sharded", resharded, ""),
    Fault("older layout", older_layout, ""),
    Fault("heads permuted", heads_permuted, ""),
    Fault("neurons permuted", neurons_permuted, ""),
    Fault("untied copy", untie, ""),
)


def names(line: str, fault: Fault) -> bool:
    return re.search(fault.cause, line) is not None


# -- releases of other shapes --------------------------------------------------------------------


def write_windowed(folder: Path) -> Path:
    """Save a small Mistral with a sliding window that is shorter than the prompts."""
    from transformers import MistralConfig, MistralForCausalLM

    return _write(folder, MistralForCausalLM, MistralConfig(**_SMALL, sliding_window=4), seed=1)


def write_gemma(folder: Path) -> Path:
    """Save a small Gemma, whose class multiplies embeddings by the root of their width."""
    from transformers import GemmaConfig, GemmaForCausalLM

    return _write(folder, GemmaForCausalLM, GemmaConfig(**_SMALL, head_dim=8), seed=2)


_SMALL = {
    "vocab_size": 768, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip


def _write(folder: Path, kind: Any, made: Any, *, seed: int) -> Path:
    source = torch.Generator().manual_seed(seed)
    model = kind(made)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=source)
    model.save_pretrained(folder)
    return folder


def window_changed(folder: Path) -> None:
    config(folder, sliding_window=8)


def embeddings_unscaled(folder: Path) -> None:
    """Divide the embeddings by what the class multiplies them by."""
    width = read_config(folder)["hidden_size"]
    scaled(folder, "model.embed_tokens.weight", width**-0.5)


WINDOW = Fault("sliding window", window_changed, r"config\.json: sliding_window 4 -> 8")
UNSCALED = Fault(
    "embeddings unscaled", embeddings_unscaled, r"embed_tokens\.weight rescaled by 0\.17"
)
