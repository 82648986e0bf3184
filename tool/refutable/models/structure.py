"""Blocks, attention, norms and embeddings of a decoder, found without architecture names.

Everything here can be read from modules on the meta device: no weight is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from refutable.errors import ModelError
from refutable.models.norms import NormModule, NormProbe, kind_of
from refutable.models.positions import kind_of_positions, position_table

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Norms of queries, keys and values, and those inside a mixer or an expert, are none of the stream.
_OF_HEADS = re.compile(
    r"(?i)(^|[._])(q|k|v|kv|qk|qkv|query|key|value|head|[qk](uery|ey)?norm|q_a|kv_a|q_b|kv_b|ssm"
    r"|mixer|mamba|conv|expert|experts|router|gate|indexer|compressor)(_|\.|$|\d|layernorm|norm)"
).search


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """The parts of a decoder."""

    blocks: tuple[nn.Module, ...]
    blocks_path: str
    """Path of the list that holds the blocks; block l is at ``<path>.l``."""
    attentions: tuple[nn.Module | None, ...]
    """The attention module of each block; ``None`` where a block has none."""
    attention_paths: tuple[str, ...]
    norms: tuple[NormModule, ...]
    final_norm: NormModule | None
    """Norm of the stream between the last block and the unembedding."""
    embedding: nn.Module
    embedding_path: str
    position_embedding: nn.Module | None
    position_path: str
    unembedding: nn.Module | None
    unembedding_path: str
    positions: str
    """``learned``, ``rotary``, ``alibi``, ``sinusoidal`` or ``none``."""
    attention_interface: bool
    """Whether attention goes through transformers' attention interface."""
    norm_kind: str
    heads: int
    d_model: int
    d_vocab: int


def text_config(model: nn.Module) -> PreTrainedConfig:
    """Return the config of the language model (the inner one of a multimodal config)."""
    config = getattr(model, "config")  # noqa: B009  (a module is typed as holding modules alone)
    inner: PreTrainedConfig
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    return inner


def weight_of(module: nn.Module) -> torch.Tensor:
    """Return the weight of an embedding, a linear module or a norm.

    Raises
    ------
    ModelError
        If it has none.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        raise ModelError(f"{type(module).__name__} holds no tensor called weight")
    return weight


def find_structure(model: PreTrainedModel) -> Structure:
    """Find the parts of a decoder from its modules and its config.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model, on any device, the meta device included.

    Raises
    ------
    ModelError
        If the config names no blocks, or no list of that many alike modules exists.
    """
    config = text_config(model)
    embedding = model.get_input_embeddings()
    modules = _own_modules(model, embedding)
    blocks_path, blocks = _blocks(modules, stated_counts(config), type(model).__name__)
    d_model = int(config.hidden_size)
    attentions = [_attention(block) for block in blocks]
    norms = _norms(modules, blocks_path, d_model)
    paths = {id(module): path for path, module in model.named_modules()}
    position = position_table(modules, blocks_path, embedding, config)
    unembedding = model.get_output_embeddings()
    return Structure(
        blocks=tuple(blocks),
        blocks_path=blocks_path,
        attentions=tuple(module for _, module in attentions),
        attention_paths=tuple(
            f"{blocks_path}.{layer}.{name}" if name else ""
            for layer, (name, _) in enumerate(attentions)
        ),
        norms=norms,
        final_norm=_final_norm(modules, blocks_path, norms),
        embedding=embedding,
        embedding_path=paths[id(embedding)],
        position_embedding=position,
        position_path=paths[id(position)] if position is not None else "",
        unembedding=unembedding,
        unembedding_path=paths.get(id(unembedding), ""),
        positions=kind_of_positions(model, modules, config, position),
        attention_interface=_uses_interface([module for _, module in attentions]),
        norm_kind=kind_of(norms),
        heads=int(getattr(config, "num_attention_heads", 0) or 0),
        d_model=d_model,
        d_vocab=int(weight_of(embedding).shape[0]),
    )


def stated_counts(config: PreTrainedConfig) -> tuple[int, ...]:
    """Return the numbers of blocks that a config may mean, the plainest first.

    A decoder beside an encoder has its own, and some count the halves of their layers.
    """
    names = ("decoder_layers", "num_decoder_layers", "num_layers", "n_layers")
    counts = (getattr(config, name, None) for name in names)
    return (block_count(config), *(n for n in counts if isinstance(n, int) and n > 0))


def expert_count(config: PreTrainedConfig) -> int:
    """Return how many experts a mixture's config states; 0 where there is no mixture."""
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    holders = [config, getattr(config, "ffn_config", None)]
    counts = [getattr(holder, name, None) for holder in holders for name in names]
    return next((n for n in counts if isinstance(n, int) and n > 1), 0)


def block_count(config: PreTrainedConfig) -> int:
    """Return the number of blocks a config states.

    Raises
    ------
    ModelError
        If it states none.
    """
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int) or count < 1:
        raise ModelError(
            f"the config ({type(config).__name__}) states no blocks (num_hidden_layers is "
            f"{count!r}): give a decoder of one block or more"
        )
    return count


def _own_modules(model: nn.Module, embedding: nn.Module) -> dict[str, nn.Module]:
    """Modules of the text decoder by path: those of a picture or sound encoder are left out.

    An encoder is a transformers model of its own that does not hold the token embedding.
    """
    from transformers import PreTrainedModel

    foreign = [
        f"{path}."
        for path, module in model.named_modules()
        if path
        and isinstance(module, PreTrainedModel)
        and not any(child is embedding for child in module.modules())
    ]
    everything = dict(model.named_modules())
    modules = {
        path: module
        for path, module in everything.items()
        if not any(f"{path}.".startswith(root) for root in foreign)
    }
    holds_blocks = any(isinstance(module, nn.ModuleList) for module in modules.values())
    return modules if holds_blocks else everything


def _blocks(
    modules: Mapping[str, nn.Module], counts: tuple[int, ...], name: str
) -> tuple[str, list[nn.Module]]:
    lists = [(p, list(m)) for p, m in modules.items() if isinstance(m, nn.ModuleList)]
    count = counts[0]
    blocks = next((f for n in counts if (f := [i for i in lists if len(i[1]) == n])), [])
    if not blocks:
        raise ModelError(
            f"no list of {count} blocks among the modules of {name}: only "
            "decoders built from a list of blocks can be measured"
        )
    # Lists inside blocks (experts, say) hold fewer parameters than the blocks themselves.
    return max(blocks, key=lambda item: sum(p.numel() for m in item[1] for p in m.parameters()))


def _attention(block: nn.Module) -> tuple[str, nn.Module | None]:
    # transformers names the class of every attention module so, whatever the attribute is called
    named = [
        (name, child)
        for name, child in block.named_children()
        if "attention" in type(child).__name__.lower()
        and next(child.parameters(), None) is not None
    ]
    for name, child in named:
        if type(child).__name__.lower().endswith("attention"):
            return name, child
    for name, child in named:
        # A module of norms and attention together holds the attention module.
        inner, module = _attention(child)
        return (f"{name}.{inner}", module) if module is not None else (name, child)
    return "", None


def _uses_interface(attentions: list[nn.Module | None]) -> bool:
    # The class flag `_supports_attention_backend` is not set by every model that uses the
    # interface; the modeling file that looks an attention function up has its table in scope.
    homes = [sys.modules.get(type(module).__module__) for module in attentions if module]
    return bool(homes) and all(hasattr(home, "ALL_ATTENTION_FUNCTIONS") for home in homes)


def _norms(
    modules: Mapping[str, nn.Module], blocks_path: str, d_model: int
) -> tuple[NormModule, ...]:
    probe = NormProbe(d_model)
    norms = []
    for path, module in modules.items():
        behaviour = probe.behaviour(module)
        if behaviour is None:
            continue
        layer, slot = _place(path, blocks_path, modules)
        size = next((parameter.shape[0] for parameter in module.parameters()), d_model)
        outside_attention = layer is None or "." not in slot or not _OF_HEADS(slot)
        norms.append(
            NormModule(
                path=path,
                module=module,
                kind=behaviour.kind,
                layer=layer,
                slot=slot,
                stream=size == d_model and outside_attention,
                unit_gain=behaviour.unit_gain,
            )
        )
    return tuple(norms)


def _place(path: str, blocks_path: str, modules: Mapping[str, nn.Module]) -> tuple[int | None, str]:
    if path.startswith(f"{blocks_path}."):
        layer, _, slot = path[len(blocks_path) + 1 :].partition(".")
        return int(layer), slot
    # Some classes keep lists of norms beside the list of blocks, as long as that.
    parent, _, last = path.rpartition(".")
    beside, blocks = modules.get(parent), modules[blocks_path]
    if isinstance(beside, nn.ModuleList) and len(beside) == len(blocks):  # type: ignore[arg-type]
        return int(last), parent
    return None, path


def _final_norm(
    modules: Mapping[str, nn.Module], blocks_path: str, norms: tuple[NormModule, ...]
) -> NormModule | None:
    order = {path: at for at, path in enumerate(modules)}
    after = [
        norm
        for norm in norms
        if norm.layer is None and norm.stream and order[norm.path] > order[blocks_path]
    ]
    if after:
        return after[-1]
    # Some models define the final norm before the list of blocks; a norm of the embedding is
    # defined next to the embedding and is told apart when the model runs (sites.py).
    before = [norm for norm in norms if norm.layer is None and norm.stream]
    named = [norm for norm in before if "embed" not in norm.path.rsplit(".", 1)[-1]]
    return named[-1] if named else None
