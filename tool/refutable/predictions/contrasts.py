"""Predictions that compare: two models (or groups of seeds), or ordered groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from refutable.errors import ClaimError
from refutable.predictions.base import (
    Judgement,
    PerFamily,
    Prediction,
    fresh,
    judgement,
    labelled,
    reduce_prompts,
    scalar,
    worded,
)
from refutable.predictions.seeds import T_SEEDS, seeds_against_copies
from refutable.records import Control, Estimate, ModelFacts, Region
from refutable.stats import build, core
from refutable.stats import estimate as est
from refutable.stats.core import Floats

MODELS = "models"


def arrange(
    values: Mapping[str, Any], facts: Mapping[str, ModelFacts], names: Sequence[str]
) -> dict[str, Any]:
    """Bring values by model id into the form that predictions about several models take.

    Parameters
    ----------
    values : mapping of str to xarray.DataArray
        What the body returned, by model id.
    facts : mapping of str to ModelFacts
        Group and seed of each model.
    names : sequence of str
        Model ids, or names of groups of models that differ in the seed alone.

    Returns
    -------
    dict
        Name to array, or to a mapping of seed to array for a group.

    Raises
    ------
    ClaimError
        If a name is neither a model of the run nor a group of them.
    """
    found: dict[str, Any] = {}
    for name in names:
        members = {
            f.seed: values[i]
            for i, f in facts.items()
            if f.group == name and f.seed is not None and i in values
        }
        if name in values:
            found[name] = values[name]
        elif members:
            found[name] = members
        else:
            raise ClaimError(f"no model or group named {name!r} was measured: add --claim-model")
    return found


@dataclass(frozen=True, slots=True)
class Contrast(Prediction):
    """First minus second model, paired by family.

    Between groups of seeds: pairs of equal seed, with seeds and families both as random units;
    seeds alone where the body returns one number per model.
    """

    first: str = ""
    second: str = ""
    without: tuple[int, ...] = ()
    """Training seeds that do not take part."""

    kind: ClassVar[str] = "contrast"

    @property
    def says(self) -> str:
        """The prediction in words."""
        what = f"mean over families of {self.first} minus {self.second}"
        return f"{what}{fresh(self.without)} {worded(self.region)}"

    @property
    def left_out(self) -> tuple[int, ...]:
        """Training seeds that do not take part."""
        return self.without

    @property
    def names(self) -> tuple[str, ...]:
        """Models or groups that it compares."""
        return (self.first, self.second)

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return True

    @property
    def title(self) -> str:
        """Short name of the comparison."""
        return f"{self.first}~{self.second}"

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide the contrast; `values` as `arrange` gives them.

        Two single models give a paired t interval on families, two groups of seeds the two-way
        interval. `error` is that of one model's value.
        """
        return judgement(
            [_contrast(values, self.names, self.region, error, seed, unit)], self.region
        )

    def read_control(self, values: Any, controls: Sequence[Any], **how: Any) -> Control:
        """Hold the difference against that between the copies of the control."""
        own = _numbers(values, *self.names)
        if own is None:
            return Prediction.read_control(self, values, controls, **how)
        theirs = [_numbers(c, *self.names) or {} for c in controls]
        return seeds_against_copies(
            np.array(list(own.values())),
            np.array([x for found in theirs for x in found.values()]),
            self.region,
            **{**how, "error": 2 * how["error"]},
        )

    def per_family(self, values: Any) -> PerFamily:
        """Difference of each family, averaged over seeds."""
        numbers = _numbers(values, *self.names)
        if numbers is not None:
            return PerFamily(tuple(numbers), np.array(list(numbers.values())), len(numbers))
        names, table, n, _ = _differences(values, *self.names)
        return PerFamily(names, table.mean(axis=0), n)


@dataclass(frozen=True, slots=True)
class Ordered(Prediction):
    """Groups in rising order, each step larger than stated; every adjacent contrast must hold."""

    levels: tuple[tuple[str, ...], ...] = ()
    """Names from smallest to largest; names of one level are taken together."""
    over: str = "register"
    """Coordinate along ``prompt`` that names a family's group, or ``models``."""
    without: tuple[int, ...] = ()
    """Training seeds that do not take part."""

    kind: ClassVar[str] = "ordered"
    what: ClassVar[str] = "means ordered over"

    @property
    def says(self) -> str:
        """The prediction in words."""
        steps = " < ".join("/".join(level) for level in self.levels)
        where = f"{self.what} {self.over}{fresh(self.without)}"
        return f"{where}, {steps}, each step {worded(self.region)}"

    @property
    def left_out(self) -> tuple[int, ...]:
        """Training seeds that do not take part."""
        return self.without

    @property
    def names(self) -> tuple[str, ...]:
        """All group names."""
        return tuple(name for level in self.levels for name in level)

    @property
    def grouped(self) -> bool:
        """Whether it is about several models at once."""
        return self.over == MODELS

    @property
    def title(self) -> str:
        """Short name of the comparison, where it is between models."""
        return "~".join(self.names) if self.grouped else ""

    def judge(self, values: Any, *, error: float, seed: int, unit: str) -> Judgement:
        """Decide every adjacent contrast.

        Over a coordinate: Welch intervals between the family means of the groups, each of five
        families or more. Over models: paired as in `Contrast`.
        """
        if self.grouped:
            parts = [
                _contrast(values, (b[0], a[0]), self.region, error, seed, unit, f"{b[0]} - {a[0]}")
                for a, b in pairwise(self.levels)
            ]
            return judgement(parts, self.region)
        groups, n, reason = self._groups(values)
        if reason:
            return judgement([build.undecidable(reason, unit=unit, n=n)], self.region)
        parts = [
            est.difference_of_groups(
                groups[i], groups[i + 1], n=n, error=error, seed=seed + i, unit=unit,
                region=self.region,
                part=f"{'/'.join(self.levels[i + 1])} - {'/'.join(self.levels[i])}",
            )
            for i in range(len(self.levels) - 1)
        ]  # fmt: skip
        return judgement(parts, self.region)

    def _groups(self, values: Any) -> tuple[list[Floats], int, str | None]:
        """Family means of each level."""
        found = labelled(values)
        array = found.values.astype(float)
        reason = build.not_finite(array) if array.size else "no prompts"
        if self.over not in values.coords:
            reason = f"the prompt set does not say the {self.over} of its families"
        if reason:
            return [], array.size, reason
        marks = tuple(str(m) for m in values.coords[self.over].values)
        if len({(f, m) for f, m in zip(found.families, marks, strict=True)}) != len(
            set(found.families)
        ):
            return [], array.size, f"a prompt family has prompts of more than one {self.over}"
        means, names = core.group_means(array, found.families)
        mark_of = dict(zip(found.families, marks, strict=True))
        return (
            [means[[mark_of[n] in level for n in names]] for level in self.levels],
            array.size,
            None,
        )

    def per_family(self, values: Any) -> PerFamily:
        """Family means, or for models each family's mean step."""
        if not self.grouped:
            return reduce_prompts(values)
        names, table, n, _ = _differences(values, self.levels[-1][0], self.levels[0][0])
        return PerFamily(names, table.mean(axis=0) / (len(self.levels) - 1), n)

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
        """Hold the order of models against the control's; an order of groups has no reading."""
        if not self.grouped:
            verdicts = [
                self.judge(c, error=error, seed=seed, unit=unit).decision.verdict for c in controls
            ]
            shown = ", ".join(f"{v}: {verdicts.count(v)}" for v in dict.fromkeys(verdicts))
            return Control(kind, models, None, None, None, f"verdicts of the controls: {shown}")
        return Prediction.read_control(
            self, values, controls, kind=kind, models=models, sesoi=sesoi, error=error,
            seed=seed, unit=unit,
        )  # fmt: skip


def _contrast(
    values: Mapping[str, Any],
    names: Sequence[str],
    region: Region,
    error: float,
    seed: int,
    unit: str,
    part: str = "",
) -> Estimate:
    numbers = _numbers(values, names[0], names[1])
    if numbers is not None:
        # A number per model: the training seeds are the only units.
        made = est.family_mean(
            np.array(list(numbers.values())), tuple(numbers), error=2 * error, seed=seed, unit=unit,
            region=region,
        )  # fmt: skip
        method = T_SEEDS if made.method == build.T_FAMILIES else made.method
        return replace(made, part=part, method=method, seeds=len(numbers))
    families, table, n, seeded = _differences(values, names[0], names[1])
    if not families or not len(table):
        reason = "the two sides share no " + ("seed" if families else "family")
        return build.undecidable(reason, unit=unit)
    if seeded:
        return est.two_way(
            table, n=n, error=2 * error, seed=seed, unit=unit, region=region, part=part
        )
    made = est.family_mean(table[0], families, error=2 * error, seed=seed, unit=unit, region=region)
    return replace(made, part=part, n=n)


def _differences(
    values: Mapping[str, Any], first: str, second: str
) -> tuple[tuple[str, ...], Floats, int, bool]:
    """Differences by (seed, family) of shared seeds and families; prompts behind them; seeded?."""
    for name in (first, second):
        if name not in values:
            raise ClaimError(f"no values for {name!r}: it was not measured in this run")
    a, b = _by_seed(values[first]), _by_seed(values[second])
    seeded = None not in a or None not in b
    seeds = [s for s in a if s in b]
    reduced = [(reduce_prompts(a[s]), reduce_prompts(b[s])) for s in seeds]
    if not reduced:
        return ("none",), np.empty((0, 1)), 0, seeded
    sides = [side for pair in reduced for side in pair]
    names = tuple(n for n in sides[0].names if all(n in s.names for s in sides))
    table = np.array([[_at(p, n) - _at(q, n) for n in names] for p, q in reduced])
    return names, table.reshape(len(reduced), len(names)), min(s.n for s in sides), seeded


def _numbers(values: Mapping[str, Any], first: str, second: str) -> dict[str, float] | None:
    """Differences by seed where bodies return one number per model; ``None`` where they do not."""
    if first not in values or second not in values:
        return None
    a, b = _by_seed(values[first]), _by_seed(values[second])
    if any(
        np.size(v) != 1 or "prompt" in getattr(v, "dims", ()) for v in (*a.values(), *b.values())
    ):
        return None
    return {f"seed {s}": scalar(a[s]) - scalar(b[s]) for s in a if s in b}


def _by_seed(values: Any) -> dict[int | None, Any]:
    return dict(values) if isinstance(values, Mapping) else {None: values}


def _at(reduced: PerFamily, name: str) -> float:
    return float(reduced.means[reduced.names.index(name)])
