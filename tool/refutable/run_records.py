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
