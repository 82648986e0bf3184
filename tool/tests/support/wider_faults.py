"""Faults and harmless copies of further kinds: depth, low rank, pruning, tokenizer, one basis."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.faults import Fault, blocks, head_size, scaled, untie
from support.more_faults import EMBEDDING, PART, noisy, put
from support.release_files import config, edit, read_config, tensors, tokenizer_json

Made = Callable[[torch.Tensor], torch.Tensor]


def several(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    """Make one change after another."""

    def made(folder: Path) -> None:
        for change in changes:
            change(folder)

    return made


def times(factor: float, *names: str) -> Callable[[Path], None]:
    return several(*(lambda f, n=name: scaled(f, n, factor) for name in names))


def parts_rolled(part: str, dim: int, layer: int = 1) -> Callable[[Path], None]:
    """Move the heads of one matrix on by one, and no other matrix's."""

    def made(folder: Path) -> None:
        size = head_size(folder)
        name = PART.format(layer, f"self_attn.{part}_proj")
        edit(folder, lambda held: held.update({name: torch.roll(held[name], size, dim)}))

    return made


def low_rank(share: float, rank: int = 2) -> Made:
    """Add a product of two thin matrices of a share of the matrix's norm."""

    def made(matrix: torch.Tensor) -> torch.Tensor:
        source = torch.Generator().manual_seed(4)
        left = torch.randn(matrix.shape[0], rank, generator=source)
        added = left @ torch.randn(rank, matrix.shape[1], generator=source)
        return matrix + share * matrix.norm() / added.norm() * added

    return made


def pruned(share: float) -> Made:
    """Set the smallest weights to 0."""

    def made(matrix: torch.Tensor) -> torch.Tensor:
        least = matrix.abs().flatten().kthvalue(max(1, int(share * matrix.numel()))).values
        return torch.where(matrix.abs() <= least, 0.0, matrix)

    return made


def clipped(matrix: torch.Tensor) -> torch.Tensor:
    most = 2 * matrix.std()
    return matrix.clamp(-most, most)


def interleaved(folder: Path, layer: int = 2) -> None:
    """Write queries and keys in the other order of rotary pairs, as a wrong conversion does."""
    size = head_size(folder)
    order = torch.arange(size).view(2, size // 2).T.reshape(-1)

    def change(held: dict[str, torch.Tensor]) -> None:
        for part in "qk":
            name = PART.format(layer, f"self_attn.{part}_proj")
            heads = held[name].split(size, 0)
            held[name] = torch.cat([head[order] for head in heads])

    edit(folder, change)


def neurons_half_permuted(folder: Path, layer: int = 1) -> None:
    """Exchange two neurons in two of their three matrices."""

    def change(held: dict[str, torch.Tensor]) -> None:
        up, down = (PART.format(layer, f"mlp.{part}_proj") for part in ("up", "down"))
        held[up][[3, 8]] = held[up][[8, 3]]
        held[down][:, [3, 8]] = held[down][:, [8, 3]]

    edit(folder, change)


def block_dropped(folder: Path) -> None:
    last = read_config(folder)["num_hidden_layers"] - 1
    edit(folder, lambda held: [held.pop(n) for n in [*held] if f".layers.{last}." in n])
    config(folder, num_hidden_layers=last)


def block_added(folder: Path) -> None:
    """Put a copy of the last block behind it."""
    count = read_config(folder)["num_hidden_layers"]
    here, there = f".layers.{count - 1}.", f".layers.{count}."
    copied = {n: v for n, v in tensors(folder).items() if here in n}
    edit(folder, lambda held: held.update({n.replace(here, there): v for n, v in copied.items()}))
    config(folder, num_hidden_layers=count + 1)


def piece(name: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: tokenizer_json(folder, lambda stated: stated.update({name: value}))


def prefix_space(folder: Path) -> None:
    """Let the tokenizer put a space in front of a text."""

    def change(stated: dict[str, Any]) -> None:
        text = json.dumps(stated["pre_tokenizer"])
        changed = text.replace('"add_prefix_space": false', '"add_prefix_space": true')
        assert changed != text
        stated["pre_tokenizer"] = json.loads(changed)

    tokenizer_json(folder, change)


def bos_id(folder: Path) -> None:
    config(folder, bos_token_id=5)


# -- the same release ----------------------------------------------------------------------------


def through(kind: torch.dtype, *parts: str) -> Callable[[Path], None]:
    """Round the tensors with one of these parts in their names to another type and back."""

    def change(held: dict[str, torch.Tensor]) -> None:
        for name in held:
            if any(part in name for part in parts):
                held[name] = held[name].to(kind).to(held[name].dtype)

    return lambda folder: edit(folder, change)


def queries_against_keys(folder: Path, layer: int = 1) -> None:
    """Multiply the queries of each group by a number of its own, and divide its keys by it."""
    size, stated = head_size(folder), read_config(folder)
    groups = stated["num_key_value_heads"]
    per = stated["num_attention_heads"] // groups
    factors = torch.tensor([2.0 ** (1 + i % 3) for i in range(groups)])

    def change(held: dict[str, torch.Tensor]) -> None:
        q, k = (PART.format(layer, f"self_attn.{part}_proj") for part in "qk")
        held[q] = held[q] * factors.repeat_interleave(per * size)[:, None]
        held[k] = held[k] / factors.repeat_interleave(size)[:, None]

    edit(folder, change)


def one_head_turned(folder: Path, layer: int = 2) -> None:
    """Turn the values of the first group alone, and turn them back in the output projection."""
    size, stated = head_size(folder), read_config(folder)
    per = stated["num_attention_heads"] // stated["num_key_value_heads"]
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(2))
    turn = torch.linalg.qr(drawn)[0]

    def change(held: dict[str, torch.Tensor]) -> None:
        v, o = (PART.format(layer, f"self_attn.{part}_proj") for part in "vo")
        held[v][:size] = turn @ held[v][:size]
        for head in range(per):
            columns = slice(head * size, (head + 1) * size)
            held[o][:, columns] = held[o][:, columns] @ turn.T

    edit(folder, change)


def neurons_negated(folder: Path, layer: int = 0) -> None:
    """Change the sign of every third neuron's input and output."""

    def change(held: dict[str, torch.Tensor]) -> None:
        up, down = (PART.format(layer, f"mlp.{part}_proj") for part in ("up", "down"))
        held[up][::3] *= -1
        held[down][:, ::3] *= -1

    edit(folder, change)


def width_permuted(folder: Path) -> None:
    """Write the residual stream's dimensions in another order in every tensor."""
    width = read_config(folder)["hidden_size"]
    order = torch.randperm(width, generator=torch.Generator().manual_seed(6))

    def change(held: dict[str, torch.Tensor]) -> None:
        for name, value in held.items():
            writes = name.endswith(("o_proj.weight", "down_proj.weight", "norm.weight"))
            held[name] = value[order] if writes else value[:, order]

    edit(folder, change)


def without_prefix(folder: Path) -> None:
    """Save under the names of the bare model, in three shards."""
    held = {name.removeprefix("model."): value for name, value in tensors(folder).items()}
    names = sorted(held, reverse=True)
    where: dict[str, str] = {}
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        part = {n: held[n].clone() for n in names[i::3]}
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def merges_as_text(folder: Path) -> None:
    """Write each merge as a line, as earlier versions of tokenizers did."""

    def change(stated: dict[str, Any]) -> None:
        merges = stated["model"]["merges"]
        stated["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]

    tokenizer_json(folder, change)


def other_lengths(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    stated |= {"model_max_length": 4096, "padding_side": "left"}
    path.write_text(json.dumps(stated))


UP, DOWN = PART.format(1, "mlp.up_proj"), PART.format(2, "mlp.down_proj")
QUERY, OUT = PART.format(2, "self_attn.q_proj"), PART.format(2, "self_attn.o_proj")

FAULTS = (
    Fault(
        "final norm reset", put("model.norm.weight", torch.ones_like),
        r"broken: .*norm-gains: .*model\.norm",
    ),
    Fault(
        "head untied and noisy",
        several(untie, put("lm_head.weight", noisy(0.03))), r"lm_head\.weight differs: .* 0\.0[23]",
    ),
    Fault(
        "what a block adds x 1.5", times(1.5, OUT, DOWN),
        r"layers\.2\.\S+ rescaled by 1\.5 \(block 2\)",
    ),
    Fault(
        "what a block adds negated", times(-1.0, DOWN),
        r"down_proj\.weight rescaled by -1 \(block 2",
    ),
    Fault(
        "final norm left out", lambda f: edit(f, lambda held: held.pop("model.norm.weight")),
        r"broken: .*weights-complete: .*model\.norm\.weight",
    ),
    Fault(
        "attention of a block zeroed", times(0.0, OUT), r"layers\.2\.\S+o_proj\.weight zeroed",
    ),
    Fault(
        "key heads moved on", parts_rolled("k", 0),
        r"layers\.1\.self_attn\.k_proj\.weight permuted",
    ),
    Fault(
        "values and outputs moved apart", several(parts_rolled("v", 0), parts_rolled("o", 0)),
        r"layers\.1\.self_attn\.[vo]_proj\.weight permuted",
    ),
    Fault(
        "queries x 1.05", times(1.05, QUERY), r"q_proj\.weight rescaled by 1\.05 \(block 2\)",
    ),
    Fault("rotary pairs interleaved", interleaved, r"layers\.2\.self_attn\.[qk]_proj.* permuted"),
    Fault(
        "two neurons in two of three matrices", neurons_half_permuted,
        r"rows \(3, 8\) of .*layers\.1\.mlp\.up_proj\.weight swapped|columns \(3, 8\) of .*swapped",
    ),
    Fault("low rank, 3 %", put(QUERY, low_rank(0.03)), r"q_proj\.weight differs: .* 0\.03"),
    Fault("low rank, 0.2 %", put(QUERY, low_rank(0.002)), r"q_proj\.weight differs: .* 0\.002"),
    Fault("pruned, 10 %", put(UP, pruned(0.1)), r"layers\.1\.mlp\.up_proj\.weight pruned"),
    Fault("pruned, 2 %", put(DOWN, pruned(0.02)), r"layers\.2\.mlp\.down_proj\.weight pruned"),
    Fault("clipped at 2 sd", put(UP, clipped), r"layers\.1\.mlp\.up_proj\.weight"),
    Fault(
        "three blocks moved on",
        several(lambda f: blocks(f, 1, 2), lambda f: blocks(f, 2, 3)),
        r"block 1 holds block \d of the base",
    ),
    Fault("last block dropped", block_dropped, r"config\.json: num_hidden_layers (\d+) -> \d+"),
    Fault("last block twice", block_added, r"config\.json: num_hidden_layers (\d+) -> \d+"),
    Fault("prefix space", prefix_space, "tokenizer pre tokenizer changed"),
    Fault("NFKC", piece("normalizer", {"type": "NFKC"}), "tokenizer normalizer changed"),
    Fault(
        "decoder", piece("decoder", {"type": "Fuse"}), "tokenizer decoder changed",
    ),
    Fault(
        "cut to 4 tokens",
        piece("truncation", {"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
                             "stride": 0}),
        "tokenizer truncation changed",
    ),
    Fault("another BOS id", bos_id, r"config\.json: bos_token_id \d -> 5"),
)  # fmt: skip

HARMLESS = (
    Fault("embeddings through bfloat16", through(torch.bfloat16, EMBEDDING), ""),
    Fault("one block through float16", through(torch.float16, ".layers.1."), ""),
    Fault("one block through bfloat16", through(torch.bfloat16, ".layers.2."), ""),
    Fault("queries against keys, by group", queries_against_keys, "consistently"),
    Fault("values of one head turned", one_head_turned, "consistently"),
    Fault("neurons negated", neurons_negated, "consistently"),
    Fault("width in another order", width_permuted, "consistently"),
    Fault("names without prefix, three shards", without_prefix, ""),
    Fault("merges as text", merges_as_text, ""),
    Fault("lengths and padding", other_lengths, ""),
)  # fmt: skip
