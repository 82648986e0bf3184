"""Predictions about one value per prompt, and about facts of one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from refutable.predictions.base import (
    Judgement,
    PerFamily,
    Prediction,
    judgement,
    labelled,
    reduce_prompts,
    scalar,
    worded,
)
from refutable.records import Control, Counterexample, Estimate, Reading, Region
from refutable.stats import build, core, decide
from refutable.stats import estimate as est
from refutable.stats.core import Floats

WITNESS_FACTOR = 10
"""A witness must violate by more than this many times the instrument's error."""


@dataclass(frozen=True, slots=True)
class Mean(Prediction):
    """The mean over prompt families."""

    kind: ClassVar[str] = "mean"
    what: ClassVar[str] = "mean over families"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide by the t interval on family means (see `Prediction.judge`)."""
        found = labelled(values)
        estimate = est.family_mean(
            found.values, found.families, error=error, seed=seed, unit=unit, region=self.region
        )
        return judgement([estimate], self.region)

    def per_family(self, values: Any) -> PerFamily:
        """Family means."""
        return reduce_prompts(values)

    def against_control(self) -> Prediction:
        """Return the same region for model minus control: what training, or order, adds."""
        from refutable.predictions.against import AgainstControl

        return AgainstControl(self.region)


@dataclass(frozen=True, slots=True)
class Share(Prediction):
    """The share of prompts whose value lies above (or below) a limit, or that are true."""

    over: float | None = None
    """Count values above this; ``None``: the body returns true or false (1 or 0)."""

    kind: ClassVar[str] = "share"
    what: ClassVar[str] = "share of prompts, families equally weighted,"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide by Clopper and Pearson's limits with families as units.

        Values within the instrument's error of the limit count as misses in the lower limit and
        as hits in the upper one.
        """
        found = labelled(values)
        array = found.values.astype(float)
        reason = "no prompts" if array.size == 0 else build.not_finite(array)
        if reason:
            empty = build.undecidable(reason, unit="share", n=array.size)
            return judgement([empty], self.region)
        low, high = (
            est.share(self._hits(array, shift), found.families, region=self.region)
            for shift in ((0.0, 0.0) if self.over is None else (-error, error))
        )
        return judgement([_joined(low, high)], self.region)

    def per_family(self, values: Any) -> PerFamily:
        """Share of each family."""
        found = labelled(values)
        hits = self._hits(found.values.astype(float), 0.0).astype(float)
        means, names = core.group_means(hits, found.families)
        return PerFamily(names, means, len(found.prompts))

    def _hits(self, array: Floats, shift: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.asarray(array != 0 if self.over is None else array + shift > self.over)

    @property
    def says(self) -> str:
        """The prediction in words."""
        limit = "" if self.over is None else f"{_LIMIT}{self.over!r} "
        return f"{self.what} {limit}{worded(self.region)}"


_LIMIT = "with a value above "


def share_limit(statistic: str) -> float | None:
    """Read the limit back from the wording of a share claim; ``None`` for true or false values."""
    _, found, rest = statistic.partition(_LIMIT)
    return float(rest.split()[0]) if found else None


def _joined(low: Estimate, high: Estimate) -> Estimate:
    from dataclasses import replace

    p = None if low.p is None or high.p is None else max(low.p, high.p)
    return replace(low, high=high.high, p=p)


@dataclass(frozen=True, slots=True)
class Every(Prediction):
    """Every prompt's value: one counterexample refutes it, no number of examples confirms it."""

    tolerance: float = 0.005
    """A witness must violate by more than this, and by more than ten times the error."""

    kind: ClassVar[str] = "every"
    what: ClassVar[str] = "every value"
    sampled: ClassVar[bool] = False

    def violations(self, values: Floats) -> Floats:
        """How far each value lies beyond the region; negative inside it."""
        beyond = np.full(np.shape(values), -np.inf)
        if self.region.low is not None:
            beyond = np.maximum(beyond, self.region.low - values)
        if self.region.high is not None:
            beyond = np.maximum(beyond, values - self.region.high)
        return beyond

    def bound(self, error: float) -> float:
        """What a violation must exceed to be a witness."""
        return max(self.tolerance, WITNESS_FACTOR * error)

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Look for the largest violation; further dims (layer, head) are searched too."""
        found = labelled(values, anything=True)
        array = found.values.astype(float).reshape(len(found.prompts), -1)
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if array.size == 0 or bad:
            decision = decide.universal(None, 0.0, array.size, bad=bad)
            empty = build.undecidable(decision.reason, unit=unit, n=len(found.prompts))
            return Judgement(empty, (), decision)
        beyond = self.violations(array)
        row, column = np.unravel_index(int(beyond.argmax()), beyond.shape)
        worst, value = float(beyond[row, column]), float(array[row, column])
        decision = decide.universal(worst, self.bound(error), len(found.prompts))
        witness = None
        if worst > self.bound(error):
            witness = Counterexample(found.prompts[row], value, found.families[row])
        estimate = Estimate(
            value, None, None, unit=unit, method=build.SEARCH, n=len(found.prompts),
            clusters=len(set(found.families)), error=error, note="the most extreme value",
        )  # fmt: skip
        return Judgement(estimate, (), decision, witness)

    def per_family(self, values: Any) -> PerFamily:
        """Largest violation of each family."""
        found = labelled(values, anything=True)
        beyond = self.violations(found.values.astype(float).reshape(len(found.prompts), -1))
        names = tuple(dict.fromkeys(found.families))
        families = np.array(found.families)
        worst = np.array([beyond[families == name].max() for name in names])
        return PerFamily(names, worst, len(found.prompts))

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
        """Count the controls that have a witness: there is no interval to contrast."""
        bound = self.bound(error)
        broken = [bool(self.per_family(c).means.max() > bound) for c in controls]
        own = bool(self.per_family(values).means.max() > bound)
        shown = f"{sum(broken)} of {len(broken)} controls have a counterexample"
        if own or not broken:
            return Control(kind, models, None, None, Reading.UNDETERMINED, shown)
        rank = (1 + broken.count(False)) / (len(broken) + 1)
        if rank <= decide.ALPHA:
            found = Reading.INFORMATIVE
        else:
            found = Reading.UNDETERMINED if any(broken) else Reading.UNINFORMATIVE
        return Control(kind, models, None, None, found, shown)


@dataclass(frozen=True, slots=True)
class Fact(Prediction):
    """A number read off the checkpoint itself (a weight, a count): value and error, no sampling."""

    kind: ClassVar[str] = "fact"
    what: ClassVar[str] = "value"
    sampled: ClassVar[bool] = False

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Compare value +- numerical error with the region."""
        return judgement(
            [est.exact(scalar(values), error, unit=unit)], self._closed(), sampled=False
        )

    def _closed(self) -> Region:
        return self.region

    def per_family(self, values: Any) -> PerFamily:
        """Return the one value, as if of a single family."""
        return PerFamily(("checkpoint",), np.array([scalar(values)]), 1)

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
        """Rank the value among its controls (untrained or rotated copies)."""
        numbers = [scalar(c) for c in controls]
        found, reason = decide.reading_by_rank(scalar(values), numbers, self.region)
        middle = float(np.median(numbers)) if numbers else float("nan")
        estimate = est.exact(middle, unit=unit, n=len(numbers))
        contrast = est.exact(scalar(values) - middle, unit=unit, n=len(numbers))
        return Control(kind, models, estimate, contrast, found, reason)


@dataclass(frozen=True, slots=True)
class Equals(Fact):
    """A number that must equal a stated one, to within a tolerance that is part of the claim."""

    value: float = 0.0
    tolerance: float = 0.0

    kind: ClassVar[str] = "equals"

    @property
    def says(self) -> str:
        """The prediction in words."""
        margin = f" to within {self.tolerance:g}" if self.tolerance else " exactly"
        return f"value equal to {self.value:g}{margin}"

    def _closed(self) -> Region:
        # The tolerance itself still counts as equal, and the region is open.
        return Region(
            float(np.nextafter(self.value - self.tolerance, -np.inf)),
            float(np.nextafter(self.value + self.tolerance, np.inf)),
        )
