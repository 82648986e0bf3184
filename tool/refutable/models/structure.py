"""Blocks, attention, norms and embeddings of a decoder, found without architecture names.

Everything here can be read from modules on the meta device: no weight is needed.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from torch import nn

from refutable.errors import ModelError
from refutable.models.norms import NormModule, NormProbe, kind_of


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


def text_config(model: nn.Module) -> Any:
    """Return the config of the language model (the inner one of a multimodal config)."""
    config: Any = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def find_structure(model: Any) -> Structure:
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
    count = block_count(config)
    blocks_path, blocks = _blocks(model, count)
    d_model = int(config.hidden_size)
    attentions = [_attention(block) for block in blocks]
    norms = _norms(model, blocks_path, d_model)
    paths = {id(module): path for path, module in model.named_modules()}
    embedding = model.get_input_embeddings()
    position = _position_table(model, blocks_path, embedding)
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
        final_norm=_final_norm(model, blocks_path, norms),
        embedding=embedding,
        embedding_path=paths[id(embedding)],
        position_embedding=position,
        position_path=paths[id(position)] if position is not None else "",
        unembedding=unembedding,
        unembedding_path=paths.get(id(unembedding), ""),
        positions=_positions(model, config, position),
        attention_interface=_uses_interface([module for _, module in attentions]),
        norm_kind=kind_of(norms),
        heads=int(getattr(config, "num_attention_heads", 0) or 0),
        d_model=d_model,
        d_vocab=int(embedding.weight.shape[0]),
    )


def block_count(config: Any) -> int:
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


def _blocks(model: nn.Module, count: int) -> tuple[str, list[nn.Module]]:
    found = [
        (path, list(module))
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise ModelError(
            f"no list of {count} blocks among the modules of {type(model).__name__}: only "
            "decoders built from a list of blocks can be measured"
        )
    # Lists inside blocks (experts, say) hold fewer parameters than the blocks themselves.
    return max(found, key=lambda item: sum(p.numel() for m in item[1] for p in m.parameters()))


def _attention(block: nn.Module) -> tuple[str, nn.Module | None]:
    # transformers names the class of every attention module so, whatever the attribute is called
    for name, child in block.named_children():
        holds_weights = next(child.parameters(), None) is not None
        if "attention" in type(child).__name__.lower() and holds_weights:
            return name, child
    return "", None


def _uses_interface(attentions: list[nn.Module | None]) -> bool:
    # The class flag `_supports_attention_backend` is not set by every model that uses the
    # interface; the modeling file that looks an attention function up has its table in scope.
    homes = [sys.modules.get(type(module).__module__) for module in attentions if module]
    return bool(homes) and all(hasattr(home, "ALL_ATTENTION_FUNCTIONS") for home in homes)


def _norms(model: nn.Module, blocks_path: str, d_model: int) -> tuple[NormModule, ...]:
    probe = NormProbe(d_model)
    found = []
    for path, module in model.named_modules():
        behaviour = probe.behaviour(module)
        if behaviour is None:
            continue
        layer, slot = _place(path, blocks_path)
        size = next((parameter.shape[0] for parameter in module.parameters()), d_model)
        outside_attention = layer is None or "." not in slot
        found.append(
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
    return tuple(found)


def _place(path: str, blocks_path: str) -> tuple[int | None, str]:
    if not path.startswith(f"{blocks_path}."):
        return None, path
    layer, _, slot = path[len(blocks_path) + 1 :].partition(".")
    return int(layer), slot


def _final_norm(
    model: nn.Module, blocks_path: str, norms: tuple[NormModule, ...]
) -> NormModule | None:
    order = {path: at for at, (path, _) in enumerate(model.named_modules())}
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


def _position_table(
    model: nn.Module, blocks_path: str, embedding: nn.Module
) -> nn.Embedding | None:
    for path, module in model.named_modules():
        outside = not path.startswith(f"{blocks_path}.")
        if isinstance(module, nn.Embedding) and module is not embedding and outside:
            return module
    return None


def _positions(model: nn.Module, config: Any, table: nn.Embedding | None) -> str:
    if table is not None:
        weight = table.weight
        # A frozen table can only be read once it has weights (identify.py does).
        empty = not weight.is_meta and not bool(weight.any())
        return "none" if empty else "learned"
    alibi = getattr(config, "alibi", None)
    if alibi:
        return "alibi"
    names = [type(module).__name__.lower() for module in model.modules()]
    buffers = [name.rsplit(".", 1)[-1] for name, _ in model.named_buffers()]
    if any("rotary" in name for name in names) or "inv_freq" in buffers:
        return "rotary"
    if any("sinusoidal" in name for name in names):
        return "sinusoidal"
    if hasattr(config, "rotary_dim") or hasattr(config, "rope_parameters"):
        return "rotary"
    return "alibi" if alibi is None and _passes_alibi(model) else "none"


def _passes_alibi(model: nn.Module) -> bool:
    for module in model.modules():
        forward = inspect.signature(type(module).forward).parameters
        if "alibi" in forward or "position_bias" in forward:
            return True
    source = sys.modules.get(type(model).__module__)
    return any("alibi" in name.lower() for name in vars(source or object))
