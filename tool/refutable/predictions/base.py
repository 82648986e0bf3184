"""What every prediction has: a region, a wording, a judgement and a reading of its control."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.records import Control, Counterexample, Decision, Estimate, Region, Verdict
from refutable.stats import core, decide, power
from refutable.stats import estimate as est
from refutable.stats.core import Floats


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


@dataclass(frozen=True, slots=True)
class Labelled:
    """The values of a claim's body as plain arrays."""

    values: np.ndarray[Any, Any]
    """(prompt, ...)."""
    families: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PerFamily:
    """One reduced value per family: what a control is contrasted on."""

    names: tuple[str, ...]
    means: Floats
    n: int


def labelled(values: Any, *, extra: tuple[str, ...] = (), anything: bool = False) -> Labelled:
    """Read a labelled array (xarray) of one value per prompt.

    Parameters
    ----------
    values : xarray.DataArray
        With dim ``prompt`` and the coordinates ``prompt`` and ``family`` along it.
    extra : tuple of str
        Further dims, in the wanted order.
    anything : bool
        Whether any further dims are allowed.

    Raises
    ------
    ClaimError
        If the dims are not as asked for, which means that the body forgot to reduce one.
    """
    dims = tuple(getattr(values, "dims", ()))
    wanted = ("prompt", *extra)
    if "prompt" not in dims or (not anything and set(dims) != set(wanted)):
        raise ClaimError(
            f"expected the body to return an array over {wanted}, got dims {dims}: "
            "reduce or keep the named dims with xarray"
        )
    if "family" not in values.coords:
        raise ClaimError("the body's values lost the coordinate 'family': keep xarray arrays")
    rest = tuple(d for d in dims if d not in wanted) if anything else ()
    ordered = values.transpose(*wanted, *rest)
    families = tuple(str(f) for f in ordered.coords["family"].values)
    names = ordered.coords["prompt"].values if "prompt" in ordered.coords else families
    return Labelled(np.asarray(ordered.values), families, tuple(str(p) for p in names))


def scalar(values: Any) -> float:
    """Read one number; an array must hold a single element."""
    array = np.asarray(values, dtype=float)
    if array.size != 1:
        raise ClaimError(f"expected the body to return one number, got shape {array.shape}")
    return float(array.reshape(()))


@dataclass(frozen=True, slots=True)
class Prediction(ABC):
    """A region that a claim predicts for a quantity reduced in a stated way."""

    region: Region

    kind: ClassVar[str] = ""
    sampled: ClassVar[bool] = True
    """False for exact facts, which have no p and no multiplicity."""
    what: ClassVar[str] = ""
    """The statistic in words."""
    needs_control: ClassVar[bool] = False
    """Whether it is about model minus control, so that `judge` alone cannot decide it."""

    @property
    def says(self) -> str:
        """The prediction in words, e.g. ``mean over families below -0.02``."""
        return f"{self.what} {worded(self.region)}"

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

    @abstractmethod
    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide the prediction.

        Parameters
        ----------
        values : xarray.DataArray or as the prediction says
            What the claim's body returned.
        error : float
            The instrument's measured error of one value.
        seed : int
            Seed of the bootstrap beside the interval.
        unit : str
            Unit of the values.
        """

    @abstractmethod
    def per_family(self, values: Any) -> PerFamily:
        """Reduce what the body returned to one value per family."""

    def control_region(self) -> Region:
        """Region of the per-family values that the control is held against."""
        return self.region

    def read_control(
        self,
        values: Any,
        controls: Sequence[Any],
        *,
        kind: str,
        models: tuple[str, ...],
        sesoi: float | None,
        error: float,
        seed: int,
        unit: str,
    ) -> Control:
        """Hold the model against its null control, paired by family.

        Parameters
        ----------
        values : as for `judge`
            The model's values.
        controls : sequence, (control seed,)
            The same body's values on each control.
        kind : str
            What the control is, e.g. ``untrained``.
        models : tuple of str
            Name of each control.
        sesoi : float or None
            Smallest effect of interest.
        error, seed, unit
            As for `judge`.

        Returns
        -------
        Control
            With the two-way intervals of the control and of model minus control.
        """
        mine = self.per_family(values)
        theirs = [self.per_family(c) for c in controls]
        shared = [n for n in mine.names if all(n in t.names for t in theirs)]
        if not shared or not theirs:
            return Control(kind, models, None, None, None, "no family is shared with the control")
        own = _pick(mine, shared)
        table = np.stack([_pick(t, shared) for t in theirs])
        n = min(mine.n, *(t.n for t in theirs))
        control = _over_copies(table, kind, n, error, seed, unit, "control")
        contrast = _over_copies(own - table, kind, n, 2 * error, seed, unit, "model minus control")
        region = self.control_region()
        found, reason = decide.reading(control, contrast, region, sesoi=sesoi)
        return Control(kind, models, control, contrast, found, reason)


def _over_copies(
    table: Floats, kind: str, n: int, error: float, seed: int, unit: str, part: str
) -> Estimate:
    """Estimate the mean of a (copy, family) table; copies are random units beside the families."""
    if kind == "placebo":
        # It is measured on the model itself: there are no copies to draw from.
        return est.unit_mean(table[0], n=n, error=error, seed=seed, unit=unit, part=part)
    return est.two_way(table, n=n, error=error, seed=seed, unit=unit, part=part)


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


def reduce_prompts(values: Any) -> PerFamily:
    """Family means of one value per prompt."""
    found = labelled(values)
    means, names = core.group_means(found.values.astype(float), found.families)
    return PerFamily(names, means, len(found.prompts))


def worded(region: Region) -> str:
    """Word a region without its article: ``below -0.02``."""
    return decide.within(region).removeprefix("the region ")


def fresh(left_out: Sequence[int]) -> str:
    """Word which training seeds do not take part; empty where all do."""
    if not left_out:
        return ""
    return f" (seed{'s' * (len(left_out) > 1)} {', '.join(map(str, left_out))} left out)"


def check_bounds(low: float | None, high: float | None) -> Region:
    """Make a region, refusing an empty one."""
    for bound in (low, high):
        if bound is not None and not np.isfinite(bound):
            raise ClaimError(f"expected finite bounds, got {bound!r}")
    if low is not None and high is not None and low >= high:
        raise ClaimError(f"expected low < high, got low={low!r}, high={high!r}")
    return Region(None if low is None else float(low), None if high is None else float(high))


def _pick(reduced: PerFamily, names: Sequence[str]) -> Floats:
    place = {name: i for i, name in enumerate(reduced.names)}
    return reduced.means[[place[name] for name in names]]
