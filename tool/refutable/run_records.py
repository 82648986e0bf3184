"""Records of what a run says beyond single results; re-exported by `refutable.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registration:
    """When what a claim says was written down, and what was changed after it was measured."""

    date: str
    before: bool
    """Whether no verdict had been recorded by then."""
    changed: tuple[str, ...] = ()
    """What is not as it was when first measured: the region, the prompts and so on."""


@dataclass(frozen=True, slots=True)
class OverModels:
    """One claim over five models or more, which were chosen and not drawn."""

    claim: str
    prompts: str
    arm: str
    models: tuple[str, ...]
    value: float
    """Random-effects mean."""
    low: float
    high: float
    predicted_low: float
    """Lower end of where one more model like these would lie."""
    predicted_high: float
    tau: float
    """Standard deviation between models."""
    i2: float
    """Share of the variance of the estimates that is between models."""
    unit: str = ""
    left_out: tuple[str, ...] = ()
    """Models whose estimate has no standard error, such as values that agree."""


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
