"""What another process is told to measure, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from refutable.measurement.needs import ControlCopy
from refutable.measurement.state import Brought, Settings
from refutable.records import InstrumentCheck
from refutable.run_records import MeasuringCost
from refutable.spec.prompts import PromptSet


@dataclass(frozen=True, slots=True)
class Part:
    """One model, one set of prompts, one arm."""

    model: str
    """Its id in the run."""
    name: str
    """What `refutable.models.registry.resolve` takes."""
    prompts: tuple[str, PromptSet]
    """By the name that the run knows the set by."""
    arm: str
    wanted: tuple[tuple[ControlCopy | None, frozenset[str]], ...]
    """Observables of the model, and of each copy of its null controls."""
    settings: Settings
    files: tuple[str, ...]
    """Of claims: importing them makes observables of a suite's own known."""
    memory: int
    """Bytes that measuring it takes at most."""


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """What measuring a part gave."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Content of a store, by path relative to its root."""
    brought: Brought = field(default_factory=Brought)
    checks: tuple[InstrumentCheck, ...] = ()
    costs: tuple[MeasuringCost, ...] = ()
    error: str = ""
    """Why nothing counts: a check of the instrument that failed, a model that cannot be read."""
    versions: tuple[str, str] = ("", "")
    """Of torch and transformers where it was measured; part of every key."""
    seconds: float = 0.0
    where: str = ""
    """Host and process."""
