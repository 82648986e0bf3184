"""Hooks that show one tensor among what a module takes or gives, and may replace it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from refutable.errors import InstrumentError
from refutable.models.stream import Entry, pick, put

See = Callable[[torch.Tensor], "torch.Tensor | None"]
"""Gets the tensor; what it returns takes its place, unless that is ``None``."""


def before(see: See, entry: Entry | None) -> Callable[..., object]:
    """Return a pre-hook that shows (and replaces) what lies at an entry of a module's input.

    Without an entry it is the module's first tensor argument.
    """

    def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        given = (args, kwargs)
        at = _first(given) if entry is None else entry
        if at is None:
            raise InstrumentError(f"{type(module).__name__} was called without a tensor")
        changed = see(pick(given, at))
        return None if changed is None else put(given, at, changed)

    return hook


def after(see: See, entry: Entry | None) -> Callable[..., object]:
    """Return a hook that shows (and replaces) what lies at an entry of a module's output.

    Without an entry it is the output, or the first item of it.
    """

    def hook(module: nn.Module, args: object, output: object) -> object:
        at: Entry = entry or ()
        if entry is None and isinstance(output, (tuple, list)):
            at = (0,)
        changed = see(pick(output, at))
        return None if changed is None else put(output, at, changed)

    return hook


def _first(given: tuple[tuple[object, ...], dict[str, object]]) -> Entry | None:
    """Entry of the first tensor argument."""
    args, kwargs = given
    items: list[tuple[Entry, object]] = [((0, at), value) for at, value in enumerate(args)]
    items += [((1, name), value) for name, value in kwargs.items()]
    return next((entry for entry, value in items if torch.is_tensor(value)), None)
