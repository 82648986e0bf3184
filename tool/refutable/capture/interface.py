"""Our entry in transformers' attention interface, and switching a model to it for a while."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from refutable.errors import NotAvailableError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

IMPLEMENTATION = "refutable"
"""Name under which the attention function is registered with transformers."""

Attend = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
"""Called with module, query, key, value, mask and what else the modeling file passes on."""

EagerAttend = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""A modeling file's own, which always returns the weights."""

_ACTIVE: ContextVar[Attend | None] = ContextVar("refutable_attention", default=None)


def _registered(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: object,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    active = _ACTIVE.get()
    if active is None:
        result: tuple[torch.Tensor, torch.Tensor | None] = eager_attention(module)(
            module, query, key, value, attention_mask, **kwargs
        )
        return result
    return active(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(IMPLEMENTATION, _registered)
# The eager mask (additive floats) is what every modeling file's eager attention expects, those
# outside the attention interface included.
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)


@contextmanager
def attention_implementation(model: nn.Module, name: str) -> Iterator[None]:
    """Switch a model's attention implementation for a while.

    transformers asks the config at every forward. All configs of a composite model are switched
    and put back as they were, whatever happens in between.
    """
    configs = _configs(model)
    before = [(config, config._attn_implementation) for config in configs]
    try:
        for config in configs:
            config._attn_implementation = name
        yield
    finally:
        # Parents first: setting a parent sets its children too.
        for config, implementation in before:
            config._attn_implementation = implementation


@contextmanager
def attending(model: nn.Module, attend: Attend) -> Iterator[None]:
    """Route a model's attention through `attend` for a while."""
    token = _ACTIVE.set(attend)
    try:
        with attention_implementation(model, IMPLEMENTATION):
            yield
    finally:
        _ACTIVE.reset(token)


def _configs(model: nn.Module) -> list[PreTrainedConfig]:
    by_id: dict[int, PreTrainedConfig] = {}

    def add(config: PreTrainedConfig | None) -> None:
        if config is None or id(config) in by_id or not hasattr(config, "_attn_implementation"):
            return
        by_id[id(config)] = config
        for name in getattr(config, "sub_configs", {}):
            add(getattr(config, name, None))

    for module in model.modules():
        add(getattr(module, "config", None))
    return list(by_id.values())


def eager_attention(module: nn.Module) -> EagerAttend:
    """Find the eager attention function of the file that defines an attention module.

    Raises
    ------
    NotAvailableError
        If no file in the module's class hierarchy has one.
    """
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            attend: EagerAttend = function
            return attend
    raise NotAvailableError(
        f"attention patterns are not available: the file of {type(module).__name__} has no eager "
        "attention function"
    )
