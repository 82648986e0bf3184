"""Where queries, keys and values lie in a fused projection: found by disturbing its output.

Architectures put them side by side, group by group or head by head, and names do not tell which. A
copy of one block with random weights is run, and one feature of the projection is disturbed at a
time. At the first position a value changes that position, a key only later ones, and a query
nothing, for there is but one key to look at; at the last position a query changes what its head
makes there.
"""

from __future__ import annotations

import copy
import functools
import json
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

Ranges = dict[str, tuple[tuple[int, int], ...]]

_LARGE = 1 << 26
"""Parameters of a block above which a copy with narrower heads is run in its place."""
_NARROW = 16
_VOCABULARY = 32
_TOKENS = 3
_ROWS = 32
_SHOVE = 3.0


def arranged(model: PreTrainedModel, path: str, output: str, layer: int, head_dim: int) -> Ranges:
    """Find the ranges of output features that hold queries, keys and values.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The whole model, on the meta device: for its class and config.
    path, output : str
        Paths of the fused projection and of the projection after the heads, both of block `layer`.
    layer : int
        The block.
    head_dim : int
        Features of a head.

    Returns
    -------
    dict of str to tuple of (start, stop)
        Of ``q``, ``k`` and ``v``, in the order of the heads.

    Raises
    ------
    NotAvailableError
        If the block cannot be run alone, or the features do not fall into heads.
    """
    stated = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    paths = _Paths(path, output, layer)
    key = _Key(stated, type(model), paths)
    return _probed(key, _Holder(model.config), head_dim)


class _Paths:
    def __init__(self, path: str, output: str, layer: int) -> None:
        mark = f".{layer}."
        self.path = path.replace(mark, ".0.", 1)
        self.output = output.replace(mark, ".0.", 1)
        self.layer = layer


class _Key:
    """What the arrangement follows from: the class, the config, and the places in a block."""

    def __init__(self, stated: str, kind: type, paths: _Paths) -> None:
        self.kind, self.paths = kind, paths
        self._all = (stated, kind, paths.path, paths.output)

    def __hash__(self) -> int:
        return hash(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._all == other._all


class _Holder:
    """Carries a config past the cache, which compares by `_Key` alone."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.config = config

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Holder)


@functools.lru_cache(maxsize=64)
def _probed(key: _Key, holder: _Holder, head_dim: int) -> Ranges:
    try:
        model = _one_block(key.kind, holder.config, key.paths.layer)
        fused = model.get_submodule(key.paths.path)
        after = model.get_submodule(key.paths.output)
    # A class may refuse a config that was cut short in any way it likes.
    except Exception as problem:
        raise NotAvailableError(
            f"one block of {key.kind.__name__} cannot be run alone ({type(problem).__name__}), so "
            "queries, keys and values of its fused projection cannot be told apart"
        ) from None
    config = model.config.get_text_config()
    size = int(_width(after)) // int(config.num_attention_heads)
    letters, heads = _Probe(model, fused, after, size).letters()
    return _ranges(letters, heads, head_dim)


def _one_block(kind: type, config: PreTrainedConfig, layer: int) -> PreTrainedModel:
    """Build one block of a class with random weights and a small vocabulary."""
    import torch
    from transformers import AutoModelForCausalLM

    small = copy.deepcopy(config)
    text = small.get_text_config()
    kinds = getattr(text, "layer_types", None)
    _put(text, "num_hidden_layers", 1)
    if kinds:
        text.layer_types = [kinds[layer]]
    for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
        _put(text, name, _VOCABULARY if name == "vocab_size" else None)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(small, dtype=torch.float32)
    if sum(p.numel() for p in empty.parameters()) > _LARGE:
        heads = int(text.num_attention_heads)
        _put(text, "hidden_size", heads * _NARROW)
        for name in ("intermediate_size", "ffn_dim", "n_inner"):
            if getattr(text, name, None):
                _put(text, name, 4 * _NARROW)
        for name in ("head_dim", "rotary_dim"):
            if getattr(text, name, None):
                _put(text, name, _NARROW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            small, dtype=torch.float32, attn_implementation="eager"
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    built: PreTrainedModel = model.eval()
    return built


def _put(config: PreTrainedConfig, name: str, value: int | None) -> None:
    if hasattr(config, name):
        setattr(config, name, value)


def _width(module: nn.Module) -> int:
    from transformers.pytorch_utils import Conv1D

    return int(module.get_parameter("weight").shape[0 if isinstance(module, Conv1D) else 1])


class _Probe:
    """Disturbs one feature of the projection at a time and sees which heads notice, and where."""

    def __init__(
        self, model: PreTrainedModel, fused: nn.Module, after: nn.Module, head_dim: int
    ) -> None:
        self.model, self.fused, self.after = model, fused, after
        self.head_dim = head_dim

    def letters(self) -> tuple[list[str], list[int]]:
        """Tell what each run of `head_dim` features is, and of which head it is the first."""
        from transformers.pytorch_utils import Conv1D

        weight = self.fused.get_parameter("weight")
        features = int(weight.shape[1 if isinstance(self.fused, Conv1D) else 0])
        if features % self.head_dim:
            raise NotAvailableError(f"a fused projection of {features} features holds no heads")
        # Two features of each head: an arrangement that is finer than heads must not pass.
        features_tried = [
            start + at
            for start in range(0, features, self.head_dim)
            for at in (0, self.head_dim - 1)
        ]
        first, last = self._changes(features_tried, 0), self._changes(features_tried, _TOKENS - 1)
        told = [_letter(a, b) for a, b in zip(first, last, strict=True)]
        heads = [self._head(a, b) for a, b in zip(first, last, strict=True)]
        letters = []
        for one, other in zip(told[::2], told[1::2], strict=True):
            if one != other or not one:
                raise NotAvailableError(
                    "the features of a fused projection do not fall into heads of queries, keys "
                    "and values"
                )
            letters.append(one)
        return letters, heads[::2]

    def _changes(self, tried: list[int], position: int) -> torch.Tensor:
        """Whether a feature, disturbed at a position, changes a position of a head.

        Returns
        -------
        torch.Tensor
            feature, position, head.
        """
        import torch

        per_feature = []
        for start in range(0, len(tried), _ROWS):
            part = tried[start : start + _ROWS]
            plain = self._run(len(part), [], position)
            per_feature.append((self._run(len(part), part, position) - plain).abs())
        gap = torch.cat(per_feature).unflatten(-1, (-1, self.head_dim)).amax(-1)
        changes: torch.Tensor = gap > 1e-5 * float(gap.max())
        return changes

    def _run(self, rows: int, tried: list[int], position: int) -> torch.Tensor:
        import torch

        kept: list[torch.Tensor] = []

        def disturb(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
            changed: torch.Tensor = output.clone().reshape(rows, _TOKENS, -1)
            for row, place in enumerate(tried):
                changed[row, position, place] += _SHOVE
            disturbed: torch.Tensor = changed.view_as(output)
            return disturbed

        def keep(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            kept.append(args[0].detach().reshape(rows, _TOKENS, -1))

        hooks = [
            self.fused.register_forward_hook(disturb),
            self.after.register_forward_pre_hook(keep),
        ]
        try:
            with torch.no_grad():
                ids = torch.tensor([[3, 7, 11]]).expand(rows, -1)
                self.model(input_ids=ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return kept[0]

    def _head(self, first: torch.Tensor, last: torch.Tensor) -> int:
        import torch

        noticed = (first | last).any(0)
        return int(noticed.to(torch.int).argmax()) if bool(noticed.any()) else -1


def _letter(first: torch.Tensor, last: torch.Tensor) -> str:
    """What a feature is, from what it changes when disturbed at the first and last position."""
    at_once, later = bool(first[0].any()), bool(first[1:].any())
    if at_once:
        return "v" if later else ""
    if later:
        return "k"
    return "q" if bool(last[-1].any()) else ""


def _ranges(letters: list[str], heads: list[int], head_dim: int) -> Ranges:
    """Put runs of features together, each letter's in the order of its heads."""
    ranges: Ranges = {}
    for letter in "qkv":
        runs = sorted((heads[at], at) for at, other in enumerate(letters) if other == letter)
        if not runs:
            raise NotAvailableError(f"a fused projection holds no {letter.upper()}")
        joined: list[list[int]] = []
        for _, at in runs:
            if joined and joined[-1][1] == at * head_dim:
                joined[-1][1] = (at + 1) * head_dim
            else:
                joined.append([at * head_dim, (at + 1) * head_dim])
        ranges[letter] = tuple((low, high) for low, high in joined)
    return ranges
