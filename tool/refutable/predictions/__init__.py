"""The vocabulary of predictions: what a claim says about the quantity that its body returns.

Each word gives a frozen prediction that knows how to turn observations into an estimate and an
estimate into a verdict (`Prediction.judge`), and how to read a null control.

==================================== ==========================================================
``mean.below(x)``                     mean over prompt families; also ``above``, ``within(a, b)``
``share.above(x, over=limit)``        share of prompts with a value above the limit
``every.above(x)``                    each single value: a counterexample refutes it
``correlation.below(x)``              of two values, between and within families
``trend(over="layer").above(x)``      slope over the blocks
``contrast(a, b).above(x)``           model a minus model b, paired by family (and by seed)
``cross_similarity(a, b, kernel=k).below(x)``
                                      likeness of models a and b less that of two b, over seeds
``contrast_along(a, b).above(x)``     slope of it over the log of the tokens trained on; with
                                     ``tokens=n`` or ``loss=l`` the contrast at that point
``ordered("low", "high", by=x)``      groups of families, or models, in rising order
``over_seeds(group).above(x)``         mean over training seeds, the seeds as units; ends in
                                     ``.against_control()`` for what training adds
``each_seed(group).equals(x)``         every seed: one that differs refutes it; also ``above``
``equals(x, tolerance=t)``            a fact of the checkpoint
``fact.below(x)``                     a number read off the checkpoint, without sampling
``rank.below(0.051)``                 rank among copies of a control: confirms, or stays open
==================================== ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from refutable.errors import ClaimError
from refutable.predictions.along import LOSS, SLOPE, TOKENS, ContrastAlong
from refutable.predictions.association import Correlation, Trend
from refutable.predictions.base import (
    Judgement,
    Measured,
    NullControl,
    Prediction,
)
from refutable.predictions.contrasts import MODELS, Contrast, OrderedModels
from refutable.predictions.equals import Equals, Fact, Rank
from refutable.predictions.every import Every
from refutable.predictions.mean import Mean
from refutable.predictions.ordered import Ordered
from refutable.predictions.pairs_along import AcrossAlong
from refutable.predictions.regions import check_bounds
from refutable.predictions.seed_pairs import Across, Likeness
from refutable.predictions.seeds import EachSeed, OverSeeds
from refutable.predictions.share import Share
from refutable.records import Region

__all__ = [
    "Judgement",
    "Likeness",
    "Measured",
    "NullControl",
    "Prediction",
    "contrast",
    "contrast_along",
    "correlation",
    "cross_similarity",
    "each_seed",
    "equals",
    "every",
    "fact",
    "mean",
    "ordered",
    "over_seeds",
    "rank",
    "share",
    "trend",
]

P = TypeVar("P", bound=Prediction)


class Statistic(Generic[P]):
    """A statistic that still lacks its region.

    Parameters
    ----------
    make : callable
        Makes the prediction from a region.
    """

    def __init__(self, make: Callable[[Region], P]) -> None:
        self._make = make

    def below(self, bound: float) -> P:
        """Predict less than `bound`."""
        return self._make(check_bounds(None, bound))

    def above(self, bound: float) -> P:
        """Predict more than `bound`."""
        return self._make(check_bounds(bound, None))

    def within(self, low: float, high: float) -> P:
        """Predict more than `low` and less than `high` (an equivalence with a stated margin)."""
        return self._make(check_bounds(low, high))


class EveryStatistic(Statistic[Every]):
    """Each single value; a counterexample must violate by more than a stated tolerance."""

    def __init__(self, tolerance: float = 0.005) -> None:
        super().__init__(lambda region: Every(region, tolerance))

    def __call__(self, *, tolerance: float) -> EveryStatistic:
        """State another tolerance, in units of the values."""
        if not tolerance >= 0:
            raise ClaimError(f"expected tolerance of 0 or more, got tolerance={tolerance!r}")
        return EveryStatistic(tolerance)


class ShareStatistic:
    """The share of prompts for which something holds."""

    def above(self, bound: float, *, over: float | None = None) -> Share:
        """Predict a share above `bound` of values that are true, or lie above `over`."""
        return Share(self._share(bound, None), over)

    def below(self, bound: float, *, over: float | None = None) -> Share:
        """Predict a share below `bound`."""
        return Share(self._share(None, bound), over)

    def within(self, low: float, high: float, *, over: float | None = None) -> Share:
        """Predict a share between `low` and `high`."""
        return Share(self._share(low, high), over)

    @staticmethod
    def _share(low: float | None, high: float | None) -> Region:
        for bound in (low, high):
            if bound is not None and not 0 <= bound <= 1:
                raise ClaimError(f"expected a share between 0 and 1, got {bound!r}")
        return check_bounds(low, high)


class CorrelationStatistic(Statistic[Correlation]):
    """A correlation; its bounds lie between -1 and 1."""

    def __init__(self) -> None:
        super().__init__(self._checked)

    @staticmethod
    def _checked(region: Region) -> Correlation:
        for bound in (region.low, region.high):
            if bound is not None and not -1 < bound < 1:
                raise ClaimError(f"expected a correlation between -1 and 1, got {bound!r}")
        return Correlation(region)


mean: Statistic[Mean] = Statistic(Mean)
every = EveryStatistic()
share = ShareStatistic()
correlation = CorrelationStatistic()
fact: Statistic[Fact] = Statistic(Fact)
rank: Statistic[Rank] = Statistic(Rank)


def trend(*, over: str = "layer") -> Statistic[Trend]:
    """Slope of the values over a dim, one least-squares line per prompt.

    Parameters
    ----------
    over : str
        Dim of the values beside ``prompt``.
    """
    return Statistic(lambda region: Trend(region, over))


def contrast(
    first: str, second: str, *, exclude_seeds: tuple[int, ...] = ()
) -> Statistic[Contrast]:
    """Difference of two models (or groups of seeds), first minus second, paired by family.

    Parameters
    ----------
    first, second : str
        Model ids, or names of groups of models that differ in the seed alone.
    exclude_seeds : tuple of int
        Training seeds that do not take part, such as those that a region was chosen on.
    """
    if not first or not second or first == second:
        raise ClaimError(f"expected two different models, got {first!r} and {second!r}")
    return Statistic(lambda region: Contrast(region, (first, second), exclude_seeds))


def contrast_along(
    first: str,
    second: str,
    *,
    tokens: float | None = None,
    loss: float | None = None,
    exclude_seeds: tuple[int, ...] = (),
) -> Statistic[ContrastAlong]:
    """Difference of two models (or groups of seeds) along their training.

    Parameters
    ----------
    first, second : str
        Model ids, or names of groups of models that differ in the seed alone.
    tokens : float, optional
        Compare them after so many tokens trained on.
    loss : float, optional
        Compare each where its held-out loss was first passed, in nats.
    exclude_seeds : tuple of int
        Training seeds that do not take part.

    Notes
    -----
    With neither, the difference of their slopes per doubling of the tokens.
    """
    if not first or not second or first == second:
        raise ClaimError(f"expected two different models, got {first!r} and {second!r}")
    if tokens is not None and loss is not None:
        raise ClaimError("expected tokens or loss, got both")
    for name, value in (("tokens", tokens), ("loss", loss)):
        if value is not None and not value > 0:
            raise ClaimError(f"expected {name} above 0, got {name}={value!r}")
    where = SLOPE if tokens is loss is None else TOKENS if tokens is not None else LOSS
    level = float(tokens or loss or 0.0)
    names = (first, second)
    return Statistic(lambda region: ContrastAlong(region, names, exclude_seeds, where, level))


def cross_similarity(
    first: str,
    second: str,
    *,
    kernel: Likeness,
    along: bool = False,
    exclude_seeds: tuple[int, ...] = (),
) -> Statistic[Across]:
    """How alike models of two groups of seeds are, less how alike two of the second are.

    Parameters
    ----------
    first, second : str
        Names of groups of models that differ in the seed alone.
    kernel : Likeness
        What makes a vector of what the body returns on a model, so that the inner product of two
        vectors is how alike the models are.
    along : bool
        Whether what is predicted is its slope per doubling of the tokens trained on.
    exclude_seeds : tuple of int
        Training seeds that do not take part, such as those that a region was chosen on.
    """
    if not first or not second or first == second:
        raise ClaimError(f"expected two different groups, got {first!r} and {second!r}")
    kind = AcrossAlong if along else Across
    return Statistic(lambda region: kind(region, (first, second), exclude_seeds, kernel))


def over_seeds(group: str, *, exclude_seeds: tuple[int, ...] = ()) -> Statistic[OverSeeds]:
    """Mean over the training seeds of a group, each model giving a number, or one for each prompt.

    Parameters
    ----------
    group : str
        Name of a group of models that differ in the seed alone.
    exclude_seeds : tuple of int
        Training seeds that do not take part, such as those that a region was chosen on.
    """
    if not group:
        raise ClaimError("expected the name of a group of models, got an empty one")
    return Statistic(lambda region: OverSeeds(region, (group,), exclude_seeds))


class EachSeedStatistic(Statistic[EachSeed]):
    """A statement about every seed of a group."""

    def __init__(self, group: str) -> None:
        super().__init__(lambda region: EachSeed(region, (group,)))
        self._group = group

    def equals(self, value: float, *, tolerance: float = 0.0) -> EachSeed:
        """Predict `value` to within `tolerance` in every seed."""
        if tolerance < 0:
            raise ClaimError(f"expected tolerance of 0 or more, got tolerance={tolerance!r}")
        region = Region(value - tolerance, value + tolerance)
        return EachSeed(region, (self._group,), tolerance=tolerance)


def each_seed(group: str) -> EachSeedStatistic:
    """A number that each model of a group has: one that differs refutes it, none confirms it.

    Parameters
    ----------
    group : str
        Name of a group of models that differ in the seed alone.
    """
    if not group:
        raise ClaimError("expected the name of a group of models, got an empty one")
    return EachSeedStatistic(group)


def ordered(
    *levels: str | tuple[str, ...],
    over: str = "register",
    by: float = 0.0,
    exclude_seeds: tuple[int, ...] = (),
) -> Ordered | OrderedModels:
    """Groups whose means rise in the given order, each step by more than `by`.

    Parameters
    ----------
    *levels : str or tuple of str
        Groups from smallest to largest; a tuple takes several groups together as one level.
    over : str
        Coordinate along ``prompt`` that says a family's group (a remark of the prompt set), or
        ``models``.
    by : float
        Smallest step, in units of the values.
    exclude_seeds : tuple of int
        Training seeds that do not take part.
    """
    taken = tuple((level,) if isinstance(level, str) else tuple(level) for level in levels)
    names = [name for level in taken for name in level]
    if len(taken) < 2 or len(set(names)) != len(names) or not all(taken):
        raise ClaimError(f"expected two or more different groups, got {levels!r}")
    if by < 0:
        raise ClaimError(f"expected by of 0 or more, got by={by!r}")
    region = check_bounds(by, None)
    if over != MODELS:
        return Ordered(region, taken, over)
    if any(len(level) > 1 for level in taken):
        raise ClaimError("expected one model or group of seeds per level")
    return OrderedModels(region, tuple(names), exclude_seeds)


def equals(value: float, *, tolerance: float = 0.0) -> Equals:
    """A number that equals `value` to within `tolerance`: an exact fact of the checkpoint.

    Parameters
    ----------
    value : float
        The stated number.
    tolerance : float
        Largest difference that still counts as equal.
    """
    if tolerance < 0:
        raise ClaimError(f"expected tolerance of 0 or more, got tolerance={tolerance!r}")
    return Equals(Region(value - tolerance, value + tolerance), value=value, tolerance=tolerance)
