"""Null controls: each claim has one or says why not, and what they say of planted studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from refutable import Source, claim
from refutable.errors import ClaimError
from refutable.evaluation.evaluate import evaluate
from refutable.measurement.subject import Observations, Subject
from refutable.predictions import Measured, NullControl, fact, ordered, over_seeds
from refutable.records import Reading, Verdict
from refutable.spec.claim import untrained, untrained_in
from refutable.stats.controls import control_contrast
from refutable.studies.catalogue import bundled_claims

FAMILIES = tuple(f"f{i}" for i in range(20))


def test_every_claim_has_a_null_control_or_says_why_not() -> None:
    claims = list(bundled_claims())
    without = [c.id for c in claims if c.control is None and not c.no_control]
    assert without == []
    assert all(len(c.no_control) >= 20 for c in claims if c.control is None)
    assert sum(c.control is not None for c in claims) >= len(claims) / 2


def make(**changes: Any) -> Any:
    def body(views: xr.DataArray) -> xr.DataArray:
        """A view of the model."""
        return views.sel(copy=-1, drop=True)

    fields: dict[str, Any] = {
        "id": "weights.wide", "statement": "s", "refuted_if": "r",
        "source": Source("study", "W"), "predicts": fact.above(1.0),
    }  # fmt: skip
    return claim(**{**fields, **changes})(body).__claim__


def test_a_control_and_a_reason_for_none_contradict_each_other() -> None:
    with pytest.raises(ClaimError, match="has a control, and no_control says that it has none"):
        make(control=untrained(), no_control="an identity")
    assert make(no_control="an identity").report().no_control == "an identity"


def test_copies_that_lie_in_an_observable_are_read_by_rank() -> None:
    views = xr.DataArray([5.0, *np.linspace(0, 2, 19)], {"copy": range(-1, 19)}, ("copy",))
    copies = untrained_in(lambda views: views.sel(copy=slice(0, None)), statement="copies")
    evaluation = evaluate(make(control=copies), Subject(Observations({"views": views})), model="m")
    assert len(evaluation.control_values) == 19
    assert evaluation.control is not None
    assert evaluation.control.kind == "untrained"
    assert evaluation.control.models[:2] == ("m@untrained-0", "m@untrained-1")
    assert evaluation.control.reading is Reading.INFORMATIVE
    assert evaluation.control.estimate is not None
    assert evaluation.control.estimate.value == pytest.approx(1.0)


def test_copies_that_lie_along_no_dim_are_one_line() -> None:
    views = xr.DataArray([5.0, 1.0], {"copy": [-1, 0]}, ("copy",))
    copies = untrained_in(lambda views: views.sel(copy=0), statement="copies")
    with pytest.raises(ClaimError, match="returned no array along 'copy'"):
        evaluate(make(control=copies), Subject(Observations({"views": views})), model="m")


# -- training seeds ---------------------------------------------------------------------------


def by_prompt(values: Any) -> xr.DataArray:
    coords = {"prompt": list(FAMILIES), "family": ("prompt", list(FAMILIES))}
    return xr.DataArray(np.asarray(values, dtype=float), coords, ("prompt",))


def study(rng: np.random.Generator, shift: float, seeds: int = 8, copies: int = 19) -> Any:
    """Models and copies that are draws of one kind, the models shifted; families in common."""
    families = rng.normal(size=len(FAMILIES))

    def draw(shifted: float) -> xr.DataArray:
        noise = 0.3 * rng.normal(size=len(FAMILIES))
        return by_prompt(families + rng.normal() + shifted + noise)

    of_models = {"toy": {seed: draw(shift) for seed in range(seeds)}}
    null = tuple({"toy": {place: draw(0.0)}} for place in range(copies))
    return of_models, NullControl("untrained", (), null, 0.1)


def tables(of_models: Any, null: NullControl) -> tuple[np.ndarray, np.ndarray]:
    copies = [next(iter(c["toy"].values())).values for c in null.values]
    return np.array([v.values for v in of_models["toy"].values()]), np.array(copies)


def test_training_seeds_and_copies_are_both_draws() -> None:
    of_models, null = study(np.random.default_rng(1), 2.0)
    predicted = over_seeds("toy").above(0.0).against_control()
    estimate = predicted.judge(Measured(of_models), null).estimate
    expected = control_contrast(*tables(of_models, null), n=20, region=predicted.region)
    for name in ("value", "low", "high", "p"):
        assert getattr(estimate, name) == pytest.approx(getattr(expected, name)), name
    control = predicted.read_control(Measured(of_models), null)
    assert control.reading is None
    assert control.contrast is not None


def test_models_that_are_draws_of_their_controls_rarely_decide() -> None:
    rng, wrong, runs = np.random.default_rng(2), 0, 200
    predicted = over_seeds("toy").above(0.0).against_control()
    for _ in range(runs):
        of_models, null = study(rng, 0.0)
        verdict = predicted.judge(Measured(of_models), null).decision.verdict
        wrong += verdict is not Verdict.INCONCLUSIVE
    assert stats.binomtest(wrong, runs, 0.05, alternative="greater").pvalue > 1e-3


def test_a_number_per_seed_is_held_against_a_number_per_copy() -> None:
    rng = np.random.default_rng(3)
    of_models, copies = rng.normal(3, 1, 8), rng.normal(0, 1, 19)
    values = {"toy": dict(enumerate(of_models))}
    null = NullControl("untrained", (), tuple({"toy": {i: c}} for i, c in enumerate(copies)))
    judgement = over_seeds("toy").above(0.0).against_control().judge(Measured(values), null)
    assert judgement.decision.verdict is Verdict.CONFIRMED
    welch = stats.ttest_ind(of_models, copies, equal_var=False).confidence_interval(0.95)
    assert (judgement.estimate.low, judgement.estimate.high) == pytest.approx(tuple(welch))
    assert judgement.estimate.p is not None


def test_without_its_control_it_is_an_error() -> None:
    with pytest.raises(ClaimError, match="needs a control"):
        over_seeds("toy").above(0.0).against_control().judge(Measured({"toy": {0: 1.0}}))


def test_a_placebo_stands_beside_each_seed() -> None:
    rng = np.random.default_rng(4)
    level = 100 * rng.normal(size=8)
    seeds, null = level + 1 + 0.1 * rng.normal(size=8), level
    control = NullControl("placebo", (), ({"toy": dict(enumerate(null))},), 0.1)
    reading = (
        over_seeds("toy")
        .above(0.0)
        .read_control(Measured({"toy": dict(enumerate(seeds))}), control)
    )
    # Seeds differ a hundredfold of what is looked for; pairs do not.
    assert reading.reading is Reading.INFORMATIVE
    assert reading.contrast is not None
    pairs = stats.ttest_1samp(seeds - null, 0.0).confidence_interval(0.95)
    assert (reading.contrast.low, reading.contrast.high) == pytest.approx(tuple(pairs))


def test_a_placebo_of_values_by_prompt_pairs_seeds_and_families() -> None:
    rng = np.random.default_rng(5)
    base = 50 * rng.normal(size=(8, 1)) + rng.normal(size=(8, len(FAMILIES)))
    of_models = {"toy": {s: by_prompt(row + 1) for s, row in enumerate(base)}}
    null = {"toy": {s: by_prompt(row + 0.1 * rng.normal()) for s, row in enumerate(base)}}
    reading = (
        over_seeds("toy")
        .above(0.0)
        .read_control(Measured(of_models), NullControl("placebo", (), (null,), 0.1))
    )
    assert reading.reading is Reading.INFORMATIVE
    assert reading.contrast is not None
    assert reading.contrast.high is not None
    assert reading.contrast.value == pytest.approx(1.0, abs=0.15)
    assert reading.contrast.high < 1.5


# -- an order of models -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "reading", "shown"),
    [
        ((1.0, 1.0), Reading.INFORMATIVE, None),
        ((3.0, 0.0), Reading.UNDETERMINED, "c - b: "),
        ((0.0, 3.0), Reading.UNDETERMINED, "b - a: "),
    ],
    ids=["both", "the first alone", "the second alone"],
)
def test_each_step_of_an_order_has_its_own_control(
    steps: tuple[float, float], reading: Reading, shown: str | None
) -> None:
    rng = np.random.default_rng(6)

    def values(level: float, count: int) -> dict[int, xr.DataArray]:
        return {k: by_prompt(level + 0.05 * rng.normal(size=20)) for k in range(count)}

    levels = {"a": 0.0, "b": steps[0], "c": sum(steps)}
    of_models = {name: values(level, 8) for name, level in levels.items()}
    flat = {name: values(0.0, 8) for name in levels}
    null = tuple({name: {k: flat[name][k]} for name in levels} for k in range(8))
    predicted = ordered("a", "b", "c", over="models", by=0.5)
    measured = predicted.read_control(Measured(of_models), NullControl("untrained", (), null, 0.5))
    assert measured.reading is reading
    if shown is not None:
        assert measured.reason.startswith(shown)
