"""What each parameter of a decoder is for, read from its modules on the meta device.

A tensor alone does not say whether it is stored (in, out) or (out, in), nor where the queries lie
in a fused projection. The module class and the config do, so they are asked; nothing is computed
and no weight is needed.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError
from refutable.models.weights.fused import arranged

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from refutable.models.structure import Structure

CATEGORIES = ("embedding", "position", "attention", "mlp", "norm", "unembedding", "other")
"""Categories of parameters. A tied unembedding is counted under ``embedding``."""
MATRICES = ("q", "k", "v", "o", "in", "gate", "out")
"""Matrices of a block: attention's four, and the feed-forward's two or three."""

_BUILDING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One unique parameter of a model."""

    name: str
    """First name in the module tree."""
    aliases: tuple[str, ...]
    """Further names of the same tensor."""
    shape: tuple[int, ...]
    category: str
    layer: int | None
    """Block that holds it; ``None`` outside the blocks."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a matrix of a block lies."""

    parameter: str
    input_first: bool
    """Stored (in, out), as by transformers' Conv1D; ``torch.nn.Linear`` stores (out, in)."""
    parts: tuple[tuple[int, int], ...] = ()
    """Ranges of the output features that belong to the matrix; empty for all of them."""


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """Sizes of the heads of one block."""

    key_heads: int
    """Key (and value) heads; fewer than query heads where these share them."""
    head_dim: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Parameters of a model with their roles."""

    parameters: tuple[Parameter, ...]
    matrices: tuple[dict[str, Place], ...]
    """For each block the places of its matrices by name (see `MATRICES`)."""
    missing: tuple[str, ...]
    """For each block why some matrices have no place; empty when all have one."""
    blocks: int
    heads: int
    sizes: tuple[HeadSizes, ...]
    """Of each block's heads: windowed and global attention may differ."""
    d_model: int
    embedding: str
    position: str
    """Name of the table of position embeddings; empty when there is none."""
    context: int
    """Positions the config allows: the last so many rows of the table."""
    positions: str
    """``learned``, ``rotary``, ``alibi``, ``sinusoidal`` or ``none``."""
    prefix: str
    """Prefix that hub checkpoints of a base model leave out, e.g. ``transformer.``."""

    @property
    def key_heads(self) -> int:
        """Key heads of the first block."""
        return self.sizes[0].key_heads

    @property
    def head_dim(self) -> int:
        """Features of a head of the first block."""
        return self.sizes[0].head_dim

    @property
    def tied(self) -> tuple[Parameter, ...]:
        """Parameters that have more than one name."""
        return tuple(p for p in self.parameters if p.aliases)


def meta_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Build the modules of a causal language model without any weight, in float32.

    Raises
    ------
    NotAvailableError
        If the config is that of a part, from which transformers builds no model of its own.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise NotAvailableError(
            f"{type(config).__name__} is the config of a part of a model, from which its modules "
            "cannot be built alone: name the whole checkpoint"
        )

    # While it builds, transformers sets torch's default type to the config's and then sets back
    # what it found. Two threads at a time would leave float16 behind for the whole process.
    with _BUILDING, torch.device("meta"):
        model: PreTrainedModel
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return model


def layout_of(model: PreTrainedModel) -> Layout:
    """Give every parameter of a model its role.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        On any device, the meta device included.
    """
    from refutable.models.structure import find_structure, text_config

    structure = find_structure(model)
    config = text_config(model)
    modules = dict(model.named_modules())
    where = _Where(structure, modules)
    names: dict[int, list[str]] = {}
    tensors: dict[int, torch.Tensor] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    parameters = tuple(
        Parameter(first, tuple(rest), tuple(tensors[key].shape), *where.of(first))
        for key, (first, *rest) in names.items()
    )
    finder = _MatrixFinder(model, structure, modules)
    matrices = tuple(finder.of(layer) for layer in range(len(structure.blocks)))
    table = structure.position_embedding
    return Layout(
        parameters=parameters,
        matrices=matrices,
        missing=tuple(finder.missing),
        blocks=len(structure.blocks),
        heads=structure.heads,
        sizes=tuple(finder.sizes),
        d_model=structure.d_model,
        embedding=f"{structure.embedding_path}.weight",
        position=f"{structure.position_path}.weight" if table is not None else "",
        context=int(getattr(config, "max_position_embeddings", 0) or 0),
        positions=structure.positions,
        prefix=f"{model.base_model_prefix}." if model.base_model_prefix else "",
    )


class _Where:
    """Category and block of a parameter, from the module that owns it."""

    def __init__(self, structure: Structure, modules: dict[str, nn.Module]) -> None:
        self.structure = structure
        self.modules = modules
        self.norms = {norm.path for norm in structure.norms}

    def of(self, name: str) -> tuple[str, int | None]:
        owner = name.rpartition(".")[0]
        structure = self.structure
        layer = _layer(name, structure.blocks_path)
        if owner in self.norms:
            return "norm", layer
        if owner == structure.embedding_path:
            return "embedding", None
        if structure.position_embedding is not None and owner == structure.position_path:
            return "position", None
        if owner == structure.unembedding_path:
            return "unembedding", None
        if layer is None:
            return "other", None
        path = structure.attention_paths[layer]
        if path and name.startswith(f"{path}."):
            return "attention", layer
        inside = owner[len(structure.blocks_path) :].strip(".").partition(".")[2]
        linear = _orientation(self.modules[owner]) is not None
        return ("mlp" if linear or "mlp" in inside or "expert" in inside else "other"), layer


class _MatrixFinder:
    """Places of the matrices of each block."""

    def __init__(
        self, model: PreTrainedModel, structure: Structure, modules: dict[str, nn.Module]
    ) -> None:
        self.structure = structure
        self.modules = modules
        self.model = model
        self.missing: list[str] = []
        self.sizes: list[HeadSizes] = []
        self.head_dim = structure.d_model // max(structure.heads, 1)
        self.key_heads = structure.heads

    def of(self, layer: int) -> dict[str, Place]:
        inside = f"{self.structure.blocks_path}.{layer}."
        attention = self.structure.attention_paths[layer]
        linear = [
            (path, module)
            for path, module in self.modules.items()
            if path.startswith(inside) and _orientation(module) is not None
        ]
        of_attention = [
            item for item in linear if attention and item[0].startswith(f"{attention}.")
        ]
        rest = [item for item in linear if item not in of_attention]
        matrices: dict[str, Place] = {}
        reasons = [] if attention else [f"block {layer} has no attention module"]
        finders = (partial(self._attention, of_attention, layer), partial(self._feed_forward, rest))
        for find in finders if attention else finders[1:]:
            try:
                matrices |= find()
            except NotAvailableError as problem:
                reasons.append(str(problem))
        self.missing.append("; ".join(reasons))
        self.sizes.append(HeadSizes(self.key_heads, self.head_dim))
        return matrices

    def _attention(self, linear: list[tuple[str, nn.Module]], layer: int) -> dict[str, Place]:
        leaf = {path: path.rsplit(".", 1)[-1] for path, _ in linear}
        fused = [(p, m) for p, m in linear if _is_fused(leaf[p])]
        by_letter = {
            letter: [item for item in linear if item not in fused and leaf[item[0]][0] == letter]
            for letter in "qkv"
        }
        single = [item for items in by_letter.values() for item in items]
        outputs = [item for item in linear if item not in fused and item not in single]
        separate = all(len(items) == 1 for items in by_letter.values())
        if len(outputs) != 1 or not (len(fused) == 1 or separate):
            raise NotAvailableError(
                f"the attention projections {', '.join(leaf.values())} are neither one fused nor "
                "three separate ones with one output: W_Q, W_K, W_V, W_O cannot be told apart"
            )
        heads = self.structure.heads
        into, _ = _sizes(outputs[0][1])
        self.head_dim = into // heads
        matrices = {"o": _place(*outputs[0])}
        if fused:
            return matrices | self._fused(*fused[0], outputs[0][0], layer)
        (query,), (key,), _ = (by_letter[letter] for letter in "qkv")
        self.key_heads = _sizes(key[1])[1] // self.head_dim
        if _sizes(query[1])[1] != heads * self.head_dim:
            raise NotAvailableError(
                f"{query[0]} gives {_sizes(query[1])[1]} features, not {heads} heads of "
                f"{self.head_dim}: W_Q cannot be told from what else it holds"
            )
        return matrices | {letter: _place(*by_letter[letter][0]) for letter in "qkv"}

    def _fused(self, path: str, module: nn.Module, output: str, layer: int) -> dict[str, Place]:
        heads, size = self.structure.heads, self.head_dim
        features = _sizes(module)[1]
        keys, over = divmod(features - heads * size, 2 * size)
        if over or keys < 1 or heads % keys:
            raise NotAvailableError(f"{path} gives {features} features, no fused Q, K and V")
        self.key_heads = keys
        ranges = arranged(self.model, path, output, layer, size)
        whole = _place(path, module)
        return {k: Place(whole.parameter, whole.input_first, r) for k, r in ranges.items()}

    def _feed_forward(self, linear: list[tuple[str, nn.Module]]) -> dict[str, Place]:
        names = [path.rsplit(".", 1)[-1] for path, _ in linear]
        if not linear:
            raise NotAvailableError("no feed-forward projection is a linear module (experts?)")
        *first, last = linear
        width = _sizes(last[1])[0]
        into = [(p, m) for p, m in first if _sizes(m)[1] == width]
        both = [(p, m) for p, m in first if _sizes(m)[1] == 2 * width]
        if len(first) == 1 and into:
            return {"in": _place(*into[0]), "out": _place(*last)}
        if len(first) == 1 and both:
            whole = _place(*both[0])
            halves = {"gate": ((0, width),), "in": ((width, 2 * width),)}
            cut = {k: Place(whole.parameter, whole.input_first, r) for k, r in halves.items()}
            return cut | {"out": _place(*last)}
        gates = [(p, m) for p, m in into if "gate" in p.rsplit(".", 1)[-1]]
        plain = [item for item in into if item not in gates]
        if len(first) == 2 and len(gates) == 1 and len(plain) == 1:
            return {"in": _place(*plain[0]), "gate": _place(*gates[0]), "out": _place(*last)}
        raise NotAvailableError(
            f"the feed-forward projections {', '.join(names)} are not an input (with or without a "
            "gate) and an output"
        )


def _is_fused(leaf: str) -> bool:
    name = leaf.lower()
    return name in ("c_attn", "query_key_value", "w_pack") or "qkv" in name


def _layer(name: str, blocks_path: str) -> int | None:
    if not name.startswith(f"{blocks_path}."):
        return None
    return int(name[len(blocks_path) + 1 :].partition(".")[0])


def _orientation(module: nn.Module) -> bool | None:
    """Whether a linear module stores (in, out); ``None`` for any other module."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return True
    return False if isinstance(module, nn.Linear) else None


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Input and output features of a linear module."""
    first, second = (int(n) for n in module.get_parameter("weight").shape)
    return (first, second) if _orientation(module) else (second, first)


def _place(path: str, module: nn.Module) -> Place:
    return Place(f"{path}.weight", bool(_orientation(module)))
