"""What every prediction has: a region, a wording, a judgement and a reading of its control."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.labels import PerFamily
from refutable.records import (
    Control,
    Counterexample,
    Decision,
    Estimate,
    Parameter,
    PredictionRecord,
    Reading,
    Region,
    Verdict,
)
from refutable.stats import decide, power, readings
from refutable.stats import estimate as est
from refutable.stats.controls import control_contrast
from refutable.system import wording

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Measured:
    """What the body of a claim returned, and how well it was measured."""

    values: Any
    """xarray.DataArray, or what the prediction says."""
    error: float = 0.0
    """The instrument's measured error of one value, in units of the values."""
    seed: int = 0
    """Seed of random draws, for a prediction that needs any."""
    unit: str = ""
    """Unit of the values."""


@dataclass(frozen=True, slots=True)
class NullControl:
    """What the same body returned where the claim should say nothing."""

    kind: str
    """``untrained``, ``shuffled`` or ``placebo``."""
    models: tuple[str, ...]
    """Name of each copy."""
    values: tuple[Any, ...]
    """Of each copy, in the form of the model's own."""
    sesoi: float | None = None
    """Smallest effect of interest, in units of the values."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the observations say about a prediction."""

    estimate: Estimate
    parts: tuple[Estimate, ...]
    """The estimates of a prediction with several parts, else empty."""
    decision: Decision
    counterexample: Counterexample | None = None
    families_needed: tuple[int, int] | None = None
    """Range for the number of families that would decide, when INCONCLUSIVE."""


KINDS: dict[str, type[Prediction]] = {}
"""The prediction words by name; each class enters itself when it is defined."""


@dataclass(frozen=True, slots=True)
class Prediction(ABC):
    """A region that a claim predicts for a quantity reduced in a stated way.

    A new word is a subclass with a `kind` of its own: verdict, control, gate and report then know
    it by that name. Its fields are its parameters; they must be numbers, texts or tuples of them,
    or be marked ``field(metadata=IN_CODE)``.
    """

    region: Region

    kind: ClassVar[str] = ""
    """The word, as evidence records it."""
    sampled: ClassVar[bool] = True
    """False for exact facts, which have no p and no multiplicity."""
    universal: ClassVar[bool] = False
    """Whether it is about every value, so that a search can refute it and nothing certify it."""
    by_example: ClassVar[bool] = False
    """Whether one case outside the region refutes it, as for a statement about all."""
    of_values: ClassVar[bool] = False
    """Whether the region is one of the very values that the body returns, rather than of a slope,
    a share, a difference or a correlation made of them."""
    change_unit: ClassVar[str] = ""
    """Unit of the reduced values where it is not the claim's own."""
    what: ClassVar[str] = ""
    """The statistic in words."""

    def __init_subclass__(cls) -> None:
        if not cls.__dict__.get("kind"):
            return
        known = KINDS.get(cls.kind)
        place = (cls.__module__, cls.__qualname__)
        if known is not None and (known.__module__, known.__qualname__) != place:
            raise ClaimError(
                f"a prediction of kind {cls.kind!r} exists, {known.__qualname__}: name it otherwise"
            )
        KINDS[cls.kind] = cls

    @property
    def statement(self) -> str:
        """The prediction in words, e.g. ``mean over families below -0.02``; for people alone."""
        return f"{self.what} {wording.region(self.region)}"

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return False

    @property
    def title(self) -> str:
        """Short name of the models it compares, where it is about several."""
        return ""

    @property
    def names(self) -> tuple[str, ...]:
        """Models or groups it compares, where it is about several."""
        return ()

    @property
    def left_out(self) -> tuple[int, ...]:
        """Training seeds that do not take part, where it is about groups of seeds."""
        return ()

    def record(self) -> PredictionRecord:
        """Return the prediction as evidence holds it: kind and parameters."""
        parameters: dict[str, Parameter] = {"low": self.region.low, "high": self.region.high}
        parameters |= {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "region" and f.metadata != IN_CODE
        }
        return PredictionRecord(self.kind, parameters)

    @abstractmethod
    def judge(self, measured: Measured, control: NullControl | None = None) -> Judgement:
        """Decide the prediction.

        Parameters
        ----------
        measured : Measured
            What the claim's body returned.
        control : NullControl, optional
            The same on the null control; only a prediction about model minus control reads it.
        """

    @abstractmethod
    def per_family(self, values: Any, error: float = 0.0) -> PerFamily:
        """Reduce what the body returned to one value per family (or training seed).

        The one reduction of a prediction: verdict, control and gate all rest on it.

        Parameters
        ----------
        values : xarray.DataArray or as the prediction says
            What the claim's body returned.
        error : float
            Numerical error of one value.
        """

    def compared(self, values: Any, error: float = 0.0) -> tuple[PerFamily, ...]:
        """Return the reduced values of each part that a gate pairs between two releases.

        Parameters
        ----------
        values : xarray.DataArray or as the prediction says
            What the claim's body returned on one model.
        error : float
            Numerical error of one value.
        """
        return (self.per_family(values, error),)

    def rests_on(self, values: Any) -> dict[str, xr.DataArray]:
        """Return labelled arrays that the estimate is made of and no single model's values hold.

        Parameters
        ----------
        values : as for `judge`, or a tuple of such
            On the models, or on each copy of the control.
        """
        return {}

    def judge_from(
        self, rests: Mapping[str, xr.DataArray], error: float, unit: str
    ) -> Judgement | None:
        """Decide again from what `rests_on` gave; ``None`` where that says nothing.

        Parameters
        ----------
        rests : mapping of str to DataArray
            As `rests_on` returned it on the models.
        error : float
            The numerical error that the estimate states.
        unit : str
            Unit of the estimate.
        """
        return None

    def completed(self, values: Any, rests: Mapping[str, xr.DataArray]) -> Any:
        """Return values that were read from rows with what only `rests_on` holds of them."""
        return values

    def control_region(self) -> Region:
        """Region of the per-family values that the control is held against."""
        return self.region

    def read_control(self, measured: Measured, control: NullControl) -> Control:
        """Hold the model against its null control, paired by family.

        Parameters
        ----------
        measured : Measured
            What the claim's body returned on the model.
        control : NullControl
            What it returned on each copy.

        Returns
        -------
        Control
            With the intervals of the control and of model minus control, whose draws both count.
        """
        sides = self.beside(measured, control)
        if sides is None:
            return unread(control, "no family is shared with the control")
        single = control.kind != "placebo" and not self.grouped
        return read_against(control, *sides, self.control_region(), single=single)

    def beside(
        self, measured: Measured, control: NullControl, region: Region | None = None
    ) -> tuple[Estimate, Estimate] | None:
        """Estimate the control, and model minus control, on the families that all of them have.

        Both are draws, and both count: the model is one (or one a training seed), the control one
        a copy (see `refutable.stats.controls`).

        Parameters
        ----------
        measured, control
            As for `read_control`.
        region : Region, optional
            Predicted of model minus control, for its p.
        """
        model = self.per_family(measured.values)
        copies = [self.per_family(values) for values in control.values]
        shared = [n for n in model.names if all(n in c.names for c in copies)]
        if not shared or not copies:
            return None
        table, model_table = np.stack([c.of(shared) for c in copies]), model.table(shared)
        how: dict[str, Any] = {"n": min(model.n, *(c.n for c in copies)), "unit": measured.unit}
        alone: dict[str, Any] = {"error": measured.error, "part": OF_CONTROL, **how}
        apart: dict[str, Any] = {
            "error": 2 * measured.error, "part": OF_CONTRAST, "region": region, **how,
        }  # fmt: skip
        if control.kind == "placebo":
            # It is measured on the model itself: there are no copies to draw from.
            placebo = copies[0].table(shared)
            if len(model_table) > 1 and len(placebo) == len(model_table):
                return est.two_way(placebo, **alone), est.two_way(model_table - placebo, **apart)
            difference = model_table.mean(axis=0) - table[0]
            return (
                est.number_a_family(table[0], shared, **alone),
                est.number_a_family(difference, shared, differences=True, **apart),
            )
        return est.two_way(table, **alone), control_contrast(model_table, table, **apart)


IN_CODE: Mapping[str, object] = {"in_code": True}
"""Metadata of a field that evidence cannot hold, such as a function."""

OF_CONTROL, OF_CONTRAST = "control", "model minus control"
"""Names of the two estimates that a control is read from."""


def unread(control: NullControl, reason: str) -> Control:
    """Record a control of which nothing can be said."""
    return Control(control.kind, control.models, None, None, None, reason)


def read_against(
    control: NullControl,
    estimate: Estimate,
    contrast: Estimate,
    region: Region,
    *,
    single: bool = False,
) -> Control:
    """Read a control from its own estimate and that of model minus control.

    With `single` the model is one draw beside its copies.
    """
    reading, reason = readings.reading(
        estimate, contrast, region, sesoi=control.sesoi, single=single
    )
    return Control(control.kind, control.models, estimate, contrast, reading, reason)


_WEAKNESS = (Reading.UNINFORMATIVE, None, Reading.UNDETERMINED, Reading.INFORMATIVE)


def weakest(steps: Mapping[str, Control]) -> Control:
    """Return the reading that counts for an order: that of the step that tells least.

    The claim is about every step, so one that tells nothing makes the whole tell nothing.
    """
    name, reading = min(steps.items(), key=lambda step: _WEAKNESS.index(step[1].reading))
    return replace(reading, reason=f"{name}: {reading.reason}")


def judgement(
    parts: Sequence[Estimate], region: Region, *, sampled: bool = True, agree: bool = False
) -> Judgement:
    """Decide one estimate, or several that must all lie in the region."""
    decided = [decide.settle(part, region, sampled=sampled) for part in parts]
    estimate, decision = (
        decided[0] if len(decided) == 1 else decide.combine(decided, agree=agree, region=region)
    )
    needed = None
    if decision.verdict is Verdict.INCONCLUSIVE:
        needed = power.families_needed(estimate, region)
    shown = tuple(part for part, _ in decided) if len(decided) > 1 else ()
    return Judgement(estimate, shown, decision, None, needed)
