"""Whether a model is measured whole in memory or block by block."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from refutable.errors import RefutableError
from refutable.models.spec import ModelSource

if TYPE_CHECKING:
    from refutable.measurement.state import Settings, State

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
_COPIES = 2.2
"""The model, an untrained copy beside it, and what a pass makes of them."""
_SHARE = 0.75
"""Of the machine's memory, where none is stated."""
DRAWN_BY_BLOCK = "drawn block by block"
"""How the key of an untrained copy is marked whose parts were drawn one by one: its numbers are as
good as those of a copy that its class made whole, and others."""


def parse_memory(text: str) -> int:
    """Read a size such as ``8GB`` in bytes; 0 where nothing is stated.

    Raises
    ------
    RefutableError
        If it is no size.
    """
    if not text:
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    unit = match[2] if match else ""
    unit = f"{unit}B" if unit and not unit.endswith("B") else unit.removesuffix("B") + "B"
    if match is None or float(match[1]) <= 0:
        raise RefutableError(f"expected a size such as 8GB or 500MB, got {text!r}")
    return int(float(match[1]) * _UNITS[unit if unit != "B" else ""])


def room(settings: Settings) -> int:
    """Bytes that a run may use: as stated, or three quarters of the machine's memory."""
    if settings.memory:
        return settings.memory
    return int(_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def needed(state: State, settings: Settings) -> int:
    """Bytes that a model takes whole, with a copy beside it."""
    return int(_COPIES * _WIDTH[settings.dtype] * state.facts.parameters)


def is_streamed(state: State, settings: Settings) -> bool:
    """Whether a model does not fit and is measured block by block, on the CPU.

    A twin is shipped and small; a model that the caller holds is in memory already.
    """
    return (
        settings.device == "cpu"
        and not settings.device_map
        and state.loaded is None
        and state.weights_available
        and state.spec.source is not ModelSource.TWIN
        and needed(state, settings) > room(settings)
    )
