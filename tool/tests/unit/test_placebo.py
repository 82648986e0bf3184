"""A null control that is another body on the model's own observables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from refutable import Source, claim, mean
from refutable.errors import ClaimError
from refutable.evaluation.evaluate import evaluate
from refutable.measurement.needs import Need
from refutable.measurement.subject import Observations, Subject
from refutable.predictions import fact
from refutable.spec.claim import Claim, ClaimRegistry, ControlSpec, placebo

FAMILIES = 12


def times(ratio: float, equal: float, spread: float = 0.02) -> Observations:
    """Log ratios of two comparisons by family: one with a difference planted, one of equals."""
    noise = spread * np.random.default_rng(3).standard_normal((2, FAMILIES))
    names = [f"f{i}" for i in range(FAMILIES)]
    array = xr.DataArray(
        noise + np.array([[ratio], [equal]]),
        dims=("compared", "prompt"),
        coords={"compared": ["changed", "equal"], "prompt": names, "family": ("prompt", names)},
    )
    return Observations({"step_time": array})


def equals_timed(step_time: Any) -> Any:
    return step_time.sel(compared="equal", drop=True)


def made(body: Any = None, **changes: Any) -> Claim:
    def changed(step_time: Any) -> Any:
        """Log ratio of times."""
        return step_time.sel(compared="changed", drop=True)

    fields: dict[str, Any] = {
        "id": "ablation.slower",
        "statement": "s",
        "refuted_if": "r",
        "source": Source("study", "R"),
        "predicts": mean.above(0.05),
        "control": placebo(equals_timed, statement="two equal models"),
        "sesoi": 0.05,
    }
    registered: Claim = claim(**{**fields, **changes})(body or changed).__claim__
    return registered


def test_a_planted_difference_stands_out_from_the_placebo() -> None:
    observations = times(0.3, 0.0)
    evaluation = evaluate(made(), Subject(observations), model="m")
    control = evaluation.control
    assert control is not None
    assert (control.kind, control.models) == ("placebo", ("m@placebo",))
    assert control.reading == "informative"
    array = observations["step_time"]
    paired = (array.sel(compared="changed") - array.sel(compared="equal")).values
    interval = stats.ttest_1samp(paired, 0.0).confidence_interval(0.95)
    assert control.contrast is not None
    assert control.contrast.value == pytest.approx(paired.mean())
    # Widened by the rounding of both.
    assert control.contrast.low == pytest.approx(interval.low, abs=3e-6)
    assert control.contrast.high == pytest.approx(interval.high, abs=3e-6)
    assert len(evaluation.control_values) == 1


def test_a_way_of_timing_that_finds_the_same_where_nothing_differs_is_uninformative() -> None:
    evaluation = evaluate(made(), Subject(times(0.3, 0.3)), model="m")
    assert evaluation.judgement.decision.verdict == "confirmed"
    assert evaluation.control is not None
    assert evaluation.control.reading == "uninformative"


def test_a_fact_is_read_against_its_placebo_too() -> None:
    def largest(step_time: Any) -> Any:
        """Largest."""
        return step_time.sel(compared="changed", drop=True).max()

    spec = placebo(lambda step_time: step_time.sel(compared="equal").max(), statement="equals")
    claimed = made(largest, predicts=fact.above(0.05), control=spec)
    control = evaluate(claimed, Subject(times(0.3, 0.0)), model="m").control
    assert control is not None
    assert control.reading == "undetermined", "one control cannot have a rank of 1 in 20"
    assert control.estimate is not None
    assert control.estimate.value == pytest.approx(
        float(times(0.3, 0.0)["step_time"].sel(compared="equal").max())
    )


def test_what_the_placebo_reads_is_measured_and_no_copy_is() -> None:

    def read_off(residual_norm: Any) -> Any:
        """Norms."""
        return residual_norm

    def other(step_time_log_ratio: Any) -> Any:
        return step_time_log_ratio

    need = Need(made(read_off, control=placebo(other, statement="x")), "m", "battery", "no-bos")
    assert need.observables == {"residual_norm", "step_time_log_ratio"} == need.of_controls
    assert need.controls == ()


def test_its_arguments_must_be_observables() -> None:
    def wrong(step_tiem: Any) -> Any:
        return step_tiem

    registry = ClaimRegistry()
    registry.add(made(control=placebo(wrong, statement="misspelt")))
    with pytest.raises(ClaimError, match="asks for 'step_tiem', not an observable"):
        registry.freeze(["step_time"])


def test_a_placebo_has_a_body_and_shuffled_prompts_have_none() -> None:
    with pytest.raises(ClaimError, match="has a body"):
        ControlSpec("placebo", 1)
    with pytest.raises(ClaimError, match="read with the claim's own body"):
        ControlSpec("shuffled", 5, equals_timed)
    with pytest.raises(ClaimError, match="expected statement to be a non-empty string"):
        placebo(equals_timed, statement=" ")
    assert made().report().control == "two equal models"
