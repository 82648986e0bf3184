"""A ledger of what measuring one model took, part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from refutable.run_records import MeasuringCost

if TYPE_CHECKING:
    from refutable.capture.clock import ModelClock


class CostLedger:
    """What measuring took, in the order in which it was done.

    Parameters
    ----------
    profile : bool
        Whether time inside the model's own passes is told apart, which costs a few percent.
    """

    def __init__(self, profile: bool = False) -> None:
        self.costs: list[MeasuringCost] = []
        self._profile = profile
        self._clock: ModelClock | None = None

    def clocked(self) -> AbstractContextManager[object]:
        """Watch the model's passes while a ``with`` block lasts, if a profile was asked for."""
        if not self._profile:
            return nullcontext()
        from refutable.capture.clock import ModelClock

        self._clock = ModelClock()
        return self._clock

    @contextmanager
    def of(self, what: str, prompts: str = "", arm: str = "", role: str = "") -> Iterator[None]:
        """Note what a ``with`` block takes."""
        clock = self._clock
        inside, started = clock.seconds if clock else 0.0, time.process_time()
        try:
            yield
        finally:
            seconds = time.process_time() - started
            in_model = clock.seconds - inside if clock else None
            self.costs.append(MeasuringCost(what, prompts, arm, role, seconds, in_model))
