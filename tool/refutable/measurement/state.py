"""What is known of one model in a run, and how a run measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from refutable.measurement.remarks import Remarks
from refutable.models.spec import ModelSpec
from refutable.records import ModelFacts, ModelReport
from refutable.run_records import MeasuringCost
from refutable.spec.prompts import PromptSet

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.load import LoadedModel
    from refutable.store.committed import Committed
    from refutable.store.store import Store

Role: TypeAlias = tuple[str, str, str]
"""Prompts, arm and role of arrays; the role is empty for the model itself."""

COMMITTED = "committed"
"""Attribute of an array that was not measured here but comes with the suite."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    device: str = "cpu"
    dtype: str = "float32"
    revision: str | None = None
    check: bool = True
    """Whether the instrument is checked before anything counts; a script may leave that out."""
    memory: int = 0
    """Bytes that may be used; 0 for three quarters of the machine's memory. A model that does not
    fit is measured block by block."""
    device_map: str = ""
    """``auto`` lets accelerate spread a model over the devices of the kind of `device`."""
    beside: bool = True
    """Whether a worker may measure a model together with this one."""
    profile: bool = False
    """Whether time inside the model's own passes is told apart from all other time."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where observations come from and go to, and how new ones are measured."""

    store: Store
    committed: Committed | None
    """Observations of models whose weights are not shipped."""
    prompts: Callable[[str], PromptSet]
    settings: Settings
    remarks: Remarks = field(default_factory=Remarks)


@dataclass(frozen=True, slots=True)
class Brought:
    """What another process found that no store keeps: by (prompts, arm, role, observable)."""

    unavailable: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """Why the model does not have an observable."""
    failed: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """What went wrong when it was measured."""


@dataclass(slots=True)
class State:
    """What is known of one model in this run."""

    spec: ModelSpec
    facts: ModelFacts
    report: ModelReport
    config_digest: str
    arrays: dict[Role, dict[str, xr.DataArray]] = field(default_factory=dict)
    derived: dict[Role, dict[str, xr.DataArray]] = field(default_factory=dict)
    """What was made of `arrays`, once for all claims."""
    error: str = ""
    measured: bool = False
    nbytes: int = 0
    """Size of `arrays`."""
    weights_available: bool = True
    """Whether its weights are here; otherwise only its committed observations are."""
    replayed: set[Role] = field(default_factory=set)
    """Of `arrays`, those of which some come from the committed observations."""
    loaded: LoadedModel | None = None
    """The model itself where the caller holds it in memory; else it is loaded when needed."""
    unavailable: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """By (prompts, arm, role, observable): why the model does not have an observable."""
    costs: list[MeasuringCost] = field(default_factory=list)
    """What measuring took in this run, part by part."""
    failed: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """The same: what went wrong when it was measured in this run."""
    brought: Brought | None = None
    """What other processes of this run measured of it and found; ``None`` where none did."""

    def forget(self) -> None:
        """Drop the arrays, and what was made of them."""
        self.arrays.clear()
        self.derived.clear()
