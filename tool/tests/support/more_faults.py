"""More faults and harmless copies, of the kinds in `faults`, at other places and of other sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from support.faults import Change, Fault, head_size, neurons_permuted, rows_zeroed, scaled
from support.release_files import config, edit, read_config, tensors, tokenizer_json

EMBEDDING = "model.embed_tokens.weight"
PART = "model.layers.{}.{}.weight"


def put(name: str, made: Any) -> Change:
    """Return a change that puts what a function makes of one tensor in its place."""
    return lambda folder: edit(folder, lambda held: held.__setitem__(name, made(held[name])))


def exchanged(first: str, second: str) -> Change:
    def change(held: dict[str, torch.Tensor]) -> None:
        held[first], held[second] = held[second], held[first]

    return lambda folder: edit(folder, change)


def row_from(place: int, source: int | None) -> Any:
    """Give one row what another holds, or noise of its own size."""

    def made(matrix: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(9))
        row = noise * matrix[place].std() if source is None else matrix[source]
        matrix[place] = row.clone()
        return matrix

    return made


def one_entry(row: int, column: int, value: float) -> Any:
    def made(matrix: torch.Tensor) -> torch.Tensor:
        matrix[row, column] = value
        return matrix

    return made


def noisy(share: float) -> Any:
    source = torch.Generator().manual_seed(1)
    return lambda m: m + share * m.std() * torch.randn(m.shape, generator=source)


def rope_scaled(folder: Path) -> None:
    rope = read_config(folder)["rope_parameters"]
    config(folder, rope_parameters={**rope, "rope_type": "linear", "factor": 2.0})


def lowercased(folder: Path) -> None:
    tokenizer_json(folder, lambda stated: stated.update(normalizer={"type": "Lowercase"}))


def merges_reordered(folder: Path) -> None:
    def change(stated: dict[str, Any]) -> None:
        merges = stated["model"]["merges"]
        merges[3], merges[40] = merges[40], merges[3]

    tokenizer_json(folder, change)


def another_bos(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "bos_token": "Ġof"}))


def generation(folder: Path) -> None:
    path = folder / "generation_config.json"
    stated = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**stated, "temperature": 0.2, "eos_token_id": 7}))


# -- the same release ----------------------------------------------------------------------------


def gain_folded(folder: Path, layer: int = 1) -> None:
    """Multiply a norm's gain into the matrices behind it, and set the gain to 1."""

    def change(held: dict[str, torch.Tensor]) -> None:
        norm = PART.format(layer, "post_attention_layernorm")
        for name in (PART.format(layer, f"mlp.{part}_proj") for part in ("gate", "up")):
            held[name] = held[name] * held[norm]
        held[norm] = torch.ones_like(held[norm])

    edit(folder, change)


def values_rotated(folder: Path, layer: int = 1) -> None:
    """Turn the values of every head, and turn them back in the output projection."""
    size = head_size(folder)
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(1))
    turn = torch.linalg.qr(drawn)[0]

    def change(held: dict[str, torch.Tensor]) -> None:
        v, o = (PART.format(layer, f"self_attn.{part}_proj") for part in "vo")
        held[v] = torch.cat([turn @ part for part in held[v].split(size, 0)])
        held[o] = torch.cat([part @ turn.T for part in held[o].split(size, 1)], 1)

    edit(folder, change)


def queries_permuted(folder: Path, layer: int = 0) -> None:
    """Exchange the first two query heads of each group that share one key and value head."""
    stated, size = read_config(folder), head_size(folder)
    per = stated["num_attention_heads"] // stated["num_key_value_heads"]
    order = list(range(stated["num_attention_heads"]))
    if per > 1:
        for start in range(0, len(order), per):
            order[start], order[start + 1] = order[start + 1], order[start]

    def change(held: dict[str, torch.Tensor]) -> None:
        for part, dim in (("q", 0), ("o", 1)):
            name = PART.format(layer, f"self_attn.{part}_proj")
            parts = held[name].split(size, dim)
            held[name] = torch.cat([parts[i] for i in order], dim)

    edit(folder, change)


def rescaled_inside(folder: Path) -> None:
    scaled(folder, PART.format(1, "mlp.up_proj"), 4.0)
    scaled(folder, PART.format(1, "mlp.down_proj"), 0.25)


def half(folder: Path) -> None:
    edit(folder, lambda held: held.update({n: v.half() for n, v in held.items()}))
    config(folder, dtype="float16")


def pickled(folder: Path) -> None:
    torch.save(tensors(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def written_otherwise(folder: Path) -> None:
    """Write the fields of the config in another order, with one that no model reads."""
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({"trained_by": "someone", **dict(reversed(stated.items()))}))


def all_neurons(folder: Path) -> None:
    for layer in range(read_config(folder)["num_hidden_layers"]):
        neurons_permuted(folder, layer)


FAULTS = (
    Fault(
        "gain of another norm x 1.02",
        lambda f: scaled(f, PART.format(3, "post_attention_layernorm"), 1.02),
        r"layers\.3\.post_attention_layernorm\.weight rescaled by 1\.02 \(block 3\)",
    ),
    Fault(
        "norm reset", put(PART.format(2, "input_layernorm"), torch.ones_like),
        r"layers\.2\.input_layernorm\.weight holds 1 throughout \(block 2\)",
    ),
    Fault(
        "norms exchanged",
        exchanged(PART.format(0, "input_layernorm"), PART.format(3, "input_layernorm")),
        r"layers\.0\.input_layernorm\.weight and .*layers\.3\.input_layernorm\.weight swapped",
    ),
    Fault(
        "rows of an output projection zeroed",
        lambda f: rows_zeroed(f, PART.format(2, "self_attn.o_proj"), [1, 2, 3]),
        r"3 of \d+ rows \(1 to 3\) of .*layers\.2\.self_attn\.o_proj\.weight zeroed \(block 2\)",
    ),
    Fault(
        "embedding row copied", put(EMBEDDING, row_from(310, 311)),
        r"rows \(310\) of model\.embed_tokens\.weight holds row 311 of the base",
    ),
    Fault(
        "embedding row of noise", put(EMBEDDING, row_from(310, None)),
        r"rows \(310\) of model\.embed_tokens\.weight changed",
    ),
    Fault(
        "one weight zeroed", put(PART.format(2, "mlp.up_proj"), one_entry(3, 5, 0.0)),
        r"rows \(3\) of .*layers\.2\.mlp\.up_proj\.weight changed .*\(block 2\)",
    ),
    Fault(
        "square matrix transposed",
        put(PART.format(1, "self_attn.q_proj"), lambda m: m.T.clone()),
        r"layers\.1\.self_attn\.q_proj\.weight transposed \(block 1\)",
    ),
    Fault(
        "matrices exchanged",
        exchanged(PART.format(2, "mlp.gate_proj"), PART.format(2, "mlp.up_proj")),
        r"layers\.2\.mlp\.gate_proj\.weight and .*layers\.2\.mlp\.up_proj\.weight swapped",
    ),
    Fault(
        "noise in one matrix", put(PART.format(1, "mlp.down_proj"), noisy(0.05)),
        r"layers\.1\.mlp\.down_proj\.weight differs: relative change 0\.05",
    ),
    Fault("rope scaled", rope_scaled, r"config\.json: (factor|rope_type)"),
    Fault("lowercased", lowercased, "normalizer changed"),
    Fault("merges reordered", merges_reordered, "merges in another order"),
    Fault("another BOS", another_bos, "BOS token .* -> 'Ġof'"),
    Fault("generation config", generation, "generation_config.*temperature", failing=False),
)  # fmt: skip

HARMLESS = (
    Fault("gain folded", gain_folded, ""),
    Fault("values rotated", values_rotated, ""),
    Fault("queries permuted in their groups", queries_permuted, ""),
    Fault("rescaled inside a block", rescaled_inside, ""),
    Fault("float16", half, ""),
    Fault("saved as .bin", pickled, ""),
    Fault("config in another order", written_otherwise, ""),
    Fault("neurons of all blocks permuted", all_neurons, ""),
)
