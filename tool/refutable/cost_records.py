"""Plain records of what measuring took; part of `refutable.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What one part of measuring a model took in this run."""

    what: str
    """The observable, or a part that serves many: ``one pass``, ``instrument check``, ``load``."""
    prompts: str = ""
    """Name of the prompt set; empty where none was read."""
    arm: str = ""
    role: str = ""
    """A copy of the null control, such as ``untrained-3``; empty for the model itself."""
    seconds: float = 0.0
    """Processor time of all threads; it does not grow when other programs are busy."""
    in_model: float | None = None
    """Of it, inside forward and backward passes of the model, with the recorders in them; known
    where the run was asked for a profile."""
