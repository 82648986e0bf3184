"""Where a decoder's positions come from, read from its modules.

Names mislead: a table may be of pictures, of token types or of each layer's own embeddings, a
"rotary" field may be left over in the config of a model that rotates nothing. So a table counts
only with a row a position and the width of an embedding, and a rotation only where code rotates.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SPARE_ROWS = 16
_NAMES = ("pos", "wpe")
_WITHOUT = ("nope", "none", "no")


def position_table(
    modules: Mapping[str, nn.Module],
    blocks_path: str,
    embedding: nn.Module,
    config: PreTrainedConfig,
) -> nn.Embedding | None:
    """Find the table of learned positions: a row a position, as wide as the embedding or stream.

    Parameters
    ----------
    modules : mapping of str to torch.nn.Module
        Modules of the text decoder by path.
    blocks_path : str
        Tables inside blocks are something else.
    embedding : torch.nn.Module
        Of tokens.
    config : transformers.PreTrainedConfig
        Of the text decoder, for the number of positions.
    """
    rows = embedding.get_parameter("weight")
    widths = {int(config.hidden_size), int(rows.shape[1])}
    for path, module in modules.items():
        if not isinstance(module, nn.Embedding) or module is embedding:
            continue
        if path.startswith(f"{blocks_path}.") or module.embedding_dim not in widths:
            continue
        if _fixed(module, embedding):
            continue
        if _of_positions(path, module, config):
            return module
    return None


def _of_positions(path: str, module: nn.Embedding, config: PreTrainedConfig) -> bool:
    named = any(word in f"{path} {type(module).__name__}".lower() for word in _NAMES)
    stated = stated_context(config)
    if not stated:
        return named
    return (named and module.num_embeddings >= stated) or (
        stated <= module.num_embeddings <= stated + _SPARE_ROWS
        and module.num_embeddings != getattr(config, "vocab_size", None)
    )


def stated_context(config: PreTrainedConfig) -> int:
    """Return how many positions a config states; 0 for none."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def usable_context(config: PreTrainedConfig, table: nn.Embedding | None) -> int:
    """Return how many tokens a prompt may have; 0 where nothing limits it.

    Notes
    -----
    Some tables keep the rows up to that of the padding token for padding (RoBERTa): positions
    start behind them, and the last ones of the stated context have no row.
    """
    stated = stated_context(config)
    if table is None or table.padding_idx is None:
        return stated
    rows = int(table.num_embeddings) - int(table.padding_idx) - 1
    return min(stated, rows) if stated else rows


def kind_of_positions(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    config: PreTrainedConfig,
    table: nn.Embedding | None,
) -> str:
    """One word for a decoder's positions.

    Returns
    -------
    str
        ``learned``, ``rotary``, ``alibi``, ``sinusoidal``, ``relative`` (a trained bias of the
        distance) or ``none``.
    """
    if table is not None:
        weight = table.weight
        # A frozen table can only be read once it has weights (identify.py does).
        empty = not weight.is_meta and not bool(weight.any())
        return "none" if empty else "learned"
    alibi = getattr(config, "alibi", None)
    if alibi:
        return "alibi"
    switch = getattr(config, "position_embedding_type", "")
    if switch is None or str(switch).lower() in _WITHOUT:
        return "none"
    if any(_learns_positions(module, int(config.hidden_size)) for module in modules.values()):
        return "learned"
    if _rotates(modules, config):
        return "rotary"
    if any(True for _ in _fixed_tables(modules, config)):
        return "sinusoidal"
    if alibi is None and _passes_alibi(model, modules):
        return "alibi"
    return "relative" if any(_is_relative(module) for module in modules.values()) else "none"


def _learns_positions(module: nn.Module, width: int) -> bool:
    """Whether a module of position embeddings of its own kind (axial ones) makes learned rows."""
    name = type(module).__name__.lower()
    if "position" not in name or "embedding" not in name or "rotary" in name:
        return False
    rows = [parameter.shape[-1] for parameter in module.parameters()]
    return (width in rows or sum(rows) == width) and "sinus" not in name


def _rotates(modules: Mapping[str, nn.Module], config: PreTrainedConfig) -> bool:
    names = [type(module).__name__.lower() for module in modules.values()]
    buffers = [n for module in modules.values() for n, _ in module.named_buffers(recurse=False)]
    if any("rotary" in name for name in names) or any("inv_freq" in name for name in buffers):
        return True
    methods = (name for module in modules.values() for name in vars(type(module)))
    if any("rotary" in name for name in methods):
        return True
    if hasattr(config, "rotary_dim"):
        return True
    switch = str(getattr(config, "position_embedding_type", "")).lower()
    return (
        hasattr(config, "rope_parameters")
        and switch in ("", "rope", "rotary")
        and (_file_rotates(modules))
    )


def _file_rotates(modules: Mapping[str, nn.Module]) -> bool:
    files = {type(module).__module__ for module in modules.values()}
    homes = (vars(sys.modules.get(name, object)) for name in files)
    return any("apply_rotary" in name for home in homes for name in home)


def _fixed(table: nn.Embedding, embedding: nn.Module) -> bool:
    """Whether a table is computed and not trained: frozen beside an embedding that is not."""
    frozen = not table.weight.requires_grad and any(p.requires_grad for p in embedding.parameters())
    return frozen or "sinus" in type(table).__name__.lower()


def _fixed_tables(modules: Mapping[str, nn.Module], config: PreTrainedConfig) -> Iterator[str]:
    """Tables of positions that are computed: sines in a buffer, a plain tensor or frozen rows."""
    stated = stated_context(config)
    for path, module in modules.items():
        if "sinusoidal" in type(module).__name__.lower():
            yield path
        held = {n: t for n, t in vars(module).items() if isinstance(t, torch.Tensor)}
        held |= dict(module.named_buffers(recurse=False))
        for name, tensor in held.items():
            wide = tensor.dim() == 2 and tensor.shape[-1] == int(config.hidden_size)
            if wide and tensor.shape[0] >= max(stated, 2) and "pos" in f"{path}.{name}".lower():
                yield f"{path}.{name}"


def _passes_alibi(model: nn.Module, modules: Mapping[str, nn.Module]) -> bool:
    if any("alibi" in inspect.signature(type(m).forward).parameters for m in modules.values()):
        return True
    source = sys.modules.get(type(model).__module__)
    return any("alibi" in name.lower() for name in vars(source or object))


def _is_relative(module: nn.Module) -> bool:
    names = [type(module).__name__, *(name for name, _ in module.named_parameters(recurse=False))]
    words = ("relative", "position_bias", "rel_pos", "rel_logits", "rel_proj")
    return any(word in name.lower() for name in names for word in words)
