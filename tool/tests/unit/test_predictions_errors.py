"""The instrument's error in what compares: each side brings its own, and intervals grow by both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from support.labels import labelled, noise

from refutable.predictions import (
    Likeness,
    Measured,
    NullControl,
    contrast,
    cross_similarity,
    mean,
    ordered,
)
from refutable.records import Estimate, Verdict

ERROR = 0.03


def seeds(shift: float, seed: int) -> dict[int, Any]:
    source = np.random.default_rng(seed)
    shared = source.normal(size=40)
    return {s: labelled(shared + shift + 0.1 * source.normal(size=40), 8, 5) for s in range(6)}


def numbers(shift: float, seed: int) -> dict[int, Any]:
    source = np.random.default_rng(seed)
    return {s: xr.DataArray(shift + 0.1 * source.normal()) for s in range(6)}


def models(direction: int, seed: int) -> dict[int, Any]:
    source = np.random.default_rng(seed)
    axis = np.eye(10)[direction]
    return {
        s: xr.DataArray(axis + 0.1 * source.normal(size=(6, 10)), dims=("family", "dim"))
        for s in range(5)
    }


def middle(value: Any, without: int | None = None) -> Any:
    kept = value.values if without is None else np.delete(value.values, without, axis=0)
    return kept.mean(axis=0)


ALIKE = Likeness(middle, lambda value: int(value.sizes["family"]))
A, B = labelled(0.2 + noise(1, 40), 8, 5), labelled(noise(2, 40), 8, 5)
MARKED = labelled(
    np.repeat([0.0, 1.0], 30) + 0.1 * noise(3, 60), 12, 5, register=np.repeat(["low", "high"], 30)
)


@pytest.mark.parametrize(
    ("prediction", "values", "sides"),
    [
        (mean.above(0.0), A, 1),
        (contrast("a", "b").above(0.0), {"a": A, "b": B}, 2),
        (contrast("a", "b").above(0.0), {"a": seeds(0.2, 1), "b": seeds(0.0, 2)}, 2),
        (contrast("a", "b").above(0.0), {"a": numbers(0.2, 1), "b": numbers(0.0, 2)}, 2),
        (ordered("b", "a", over="models", by=0.0), {"a": A, "b": B}, 2),
        (ordered("low", "high", over="register", by=0.0), MARKED, 2),
        (
            cross_similarity("a", "b", kernel=ALIKE).below(0.0),
            {"a": models(0, 1), "b": models(1, 2)},
            2,
        ),
    ],
    ids=["mean", "models", "seeds", "numbers", "order of models", "order of groups", "likeness"],
)
def test_an_interval_grows_by_the_error_of_each_side(
    prediction: Any, values: Any, sides: int
) -> None:
    def judged(error: float) -> Estimate:
        estimate: Estimate = prediction.judge(Measured(values, error, 1, "")).estimate
        return estimate

    exact, rough = judged(0.0), judged(ERROR)
    assert rough.error == pytest.approx(sides * ERROR)
    assert rough.value == exact.value
    assert rough.low == pytest.approx(exact.low - sides * ERROR)
    assert rough.high == pytest.approx(exact.high + sides * ERROR)


@pytest.mark.parametrize(
    ("prediction", "values", "error"),
    [
        (contrast("a", "b").above(0.0), {"a": A, "b": B}, 2 * ERROR),
        (
            cross_similarity("a", "b", kernel=ALIKE).below(0.0),
            {"a": models(0, 1), "b": models(1, 2)},
            2 * ERROR,
        ),
        (
            ordered("b", "c", "a", over="models", by=0.0),
            {"a": A, "b": B, "c": B},
            ERROR,  # of both ends, over the two steps between them
        ),
    ],
)
def test_what_a_gate_compares_carries_the_error_of_both_sides(
    prediction: Any, values: Any, error: float
) -> None:
    assert prediction.per_family(values, ERROR).error == pytest.approx(error)


def copied(make: Any) -> tuple[Any, ...]:
    """Five copies of a control, each with both groups."""
    one, two = make(0.05, 8), make(0.0, 9)
    return tuple({"a": {s: one[s]}, "b": {s: two[s]}} for s in range(5))


@pytest.mark.parametrize(
    ("prediction", "values", "copies", "sides"),
    [
        (mean.above(0.0), A, tuple(labelled(noise(s, 40), 8, 5) for s in range(5, 10)), 2),
        (
            contrast("a", "b").above(0.0),
            {"a": numbers(0.2, 1), "b": numbers(0.0, 2)},
            copied(numbers),
            4,
        ),
        (
            cross_similarity("a", "b", kernel=ALIKE).below(0.0),
            {"a": models(0, 1), "b": models(1, 2)},
            copied(lambda shift, seed: models(3, seed)),
            4,
        ),
    ],
    ids=["mean", "numbers", "likeness"],
)
def test_model_minus_control_carries_the_error_of_each_side(
    prediction: Any, values: Any, copies: Any, sides: int
) -> None:
    null = NullControl("untrained", ("x",) * 5, copies, None)

    def contrasted(error: float) -> Estimate:
        measured = prediction.read_control(Measured(values, error, 1, ""), null).contrast
        assert measured is not None
        return measured

    assert contrasted(ERROR).low == pytest.approx(contrasted(0.0).low - sides * ERROR)


def test_a_difference_that_one_error_leaves_open_is_not_decided_by_half_of_it() -> None:
    """A shift of 0.05, an error of 0.02 a side, and what as many families can hide (0.0185)."""
    shared = noise(4, 40)
    values = {
        "a": labelled(shared + 0.05 + 1e-4 * noise(5, 40), 8, 5),
        "b": labelled(shared, 8, 5),
    }
    prediction = contrast("a", "b").above(0.0)
    assert prediction.judge(Measured(values, 0.02, 1, "")).decision.verdict is (
        Verdict.INCONCLUSIVE
    )
    assert prediction.judge(Measured(values, 0.01, 1, "")).decision.verdict is Verdict.CONFIRMED


def test_the_mean_step_of_an_order_is_the_whole_way_over_the_steps() -> None:
    """From 0 by 0.2 to 1.0 are two steps of 0.5 in the mean, for each family."""
    shared = noise(7, 40)
    steps = {"small": 0.0, "medium": 0.2, "large": 1.0}
    values = {name: labelled(shared + step, 8, 5) for name, step in steps.items()}
    per_family = ordered("small", "medium", "large", over="models", by=0.1).per_family(values)
    assert per_family.means == pytest.approx(np.full(8, 0.5))
    two = ordered("small", "large", over="models", by=0.1).per_family(values)
    assert two.means == pytest.approx(np.full(8, 1.0))
