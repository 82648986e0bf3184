"""What the checks of the measuring instrument found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.measure import Made


@dataclass(frozen=True, slots=True)
class InstrumentResult:
    """What the checks found; nothing counts when one of them failed."""

    checks: tuple[InstrumentCheck, ...]
    layout: str
    """``packed``, ``padded`` or ``single``."""
    attention: str
    """Attention implementation of the pass."""
    reference: dict[str, xr.DataArray]
    """The asked-for observables on the checked prompts, each prompt run alone."""
    packed: dict[str, xr.DataArray]
    """The same on the same prompts in the chosen layout."""
    error: float
    """Largest relative difference between the two, or between plain and hooked runs."""
    made: Made = field(default_factory=dict)
    """Passes of the run itself that were made for it, with what they gave."""
