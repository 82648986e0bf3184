"""From arrays to a verdict: hand-computed values, the instrument's error, the control."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from refutable import Source, claim, correlation, equals, mean, replication, untrained
from refutable.errors import InstrumentError, RefutableError
from refutable.evaluation.evaluate import evaluate, instrument_error, seed_of
from refutable.measurement.subject import Observations, Subject, call
from refutable.records import Verdict
from refutable.spec.claim import Claim

FAMILIES, EACH = 8, 3


def norms(gains: np.ndarray[Any, Any]) -> xr.DataArray:
    """Residual norms of two blocks whose log ratio is `gains`, (family x prompt)."""
    values = np.stack([np.full(gains.size, 2.0), 2.0 * np.exp(gains.ravel())], axis=1)
    names = [f"f{f}" for f in range(gains.shape[0]) for _ in range(gains.shape[1])]
    ids = [f"f{f}/{p}" for f in range(gains.shape[0]) for p in range(gains.shape[1])]
    return xr.DataArray(
        values,
        dims=("prompt", "layer"),
        coords={"prompt": ids, "family": ("prompt", names), "layer": [0, 1]},
    )


def gains(centre: float, spread: float, seed: int = 0) -> np.ndarray[Any, Any]:
    source = np.random.default_rng(seed)
    family = centre + spread * source.standard_normal((FAMILIES, 1))
    return family + 0.3 * spread * source.standard_normal((FAMILIES, EACH))


def made(body: Any = None, **changes: Any) -> Claim:
    def gain(residual_norm: Any) -> Any:
        """Log gain."""
        last = residual_norm.isel(layer=-1, drop=True)
        return np.log(last / residual_norm.isel(layer=-2, drop=True))

    fields: dict[str, Any] = {
        "id": "gain.grows",
        "statement": "s",
        "refuted_if": "r",
        "source": Source("study", "R"),
        "predicts": mean.above(0.0),
    }
    registered: Claim = claim(**{**fields, **changes})(body or gain).__claim__
    return registered


def observed(array: xr.DataArray) -> Observations:
    return Observations({"residual_norm": array})


def test_the_verdict_is_the_t_interval_on_family_means() -> None:
    planted = gains(0.5, 0.2)
    evaluation = evaluate(made(), Subject(observed(norms(planted))), model="m")
    means = planted.mean(axis=1)
    half = stats.t.ppf(0.975, FAMILIES - 1) * means.std(ddof=1) / math.sqrt(FAMILIES)
    estimate = evaluation.judgement.estimate
    assert estimate.value == pytest.approx(means.mean())
    # Widened by the rounding of float32, which is 1e-6.
    assert estimate.low == pytest.approx(means.mean() - half - evaluation.error)
    assert estimate.high == pytest.approx(means.mean() + half + evaluation.error)
    assert evaluation.error == pytest.approx(1e-6)
    assert evaluation.judgement.decision.verdict is Verdict.CONFIRMED
    assert evaluation.control is None
    assert evaluation.replication is None


def test_a_control_that_does_the_same_makes_it_uninformative() -> None:
    subject = Subject(
        observed(norms(gains(0.5, 0.05))),
        controls=tuple(observed(norms(gains(0.5, 0.05, seed))) for seed in range(1, 6)),
        control_names=tuple(f"m@untrained-{s}" for s in range(5)),
    )
    claimed = made(control=untrained(seeds=5), sesoi=0.3)
    same = evaluate(claimed, subject, model="m").control
    assert same is not None
    assert same.reading == "uninformative"
    assert same.models == subject.control_names
    flat = tuple(observed(norms(gains(0.0, 0.05, seed))) for seed in range(1, 6))
    other = evaluate(
        claimed, Subject(subject.observations, flat, subject.control_names), model="m"
    ).control
    assert other is not None
    assert other.reading == "informative"
    assert other.contrast is not None
    expected = gains(0.5, 0.05).mean() - np.mean([gains(0.0, 0.05, s).mean() for s in range(1, 6)])
    assert other.contrast.value == pytest.approx(expected)


def test_the_instruments_error_is_the_bodys() -> None:
    planted = gains(0.5, 0.2)
    few = planted[:2]
    shifted = few + 0.04
    subject = Subject(
        observed(norms(planted)), check=(observed(norms(few)), observed(norms(shifted)))
    )
    evaluation = evaluate(made(), subject, model="m")
    assert evaluation.error == pytest.approx(0.04)
    bare = evaluate(made(), Subject(observed(norms(planted))), model="m")
    before, after = bare.judgement.estimate, evaluation.judgement.estimate
    assert before.low is not None
    assert before.check_low is not None
    assert after.low is not None
    assert after.low == pytest.approx(before.low - 0.04, abs=2e-6)
    # A boundary inside the widened interval is not decided any more.
    edge = made(predicts=mean.above(before.check_low - 0.01))
    assert evaluate(edge, subject).judgement.decision.verdict is Verdict.INCONCLUSIVE
    assert evaluate(edge, Subject(subject.observations)).judgement.decision.verdict is (
        Verdict.CONFIRMED
    )


def checked(chosen: Any, single: Any) -> Subject:
    """What was measured, with values of the two layouts of the checked prompts."""
    pair = (observed(norms(np.asarray(chosen, float))), observed(norms(np.asarray(single, float))))
    return Subject(observed(norms(gains(0.5, 0.2))), check=pair)


def test_the_largest_difference_counts() -> None:
    subject = checked([[0.1, 0.2, 0.3]], [[0.11, 0.25, 0.3]])
    assert instrument_error(made(), subject, gains(0.5, 0.2)) == pytest.approx(0.05)


@pytest.mark.parametrize(("chosen", "single"), [(np.nan, 0.2), (0.2, np.inf), (np.inf, np.nan)])
def test_a_difference_without_bound_refuses(chosen: float, single: float) -> None:
    """It is no rounding: a body that is finite in one layout alone has no error to widen by."""
    subject = checked([[0.1, chosen]], [[0.1, single]])
    with pytest.raises(InstrumentError, match="finite in one layout"):
        instrument_error(made(), subject, gains(0.5, 0.2))


def test_values_that_neither_layout_has_are_no_difference() -> None:
    subject = checked([[0.1, np.nan, np.inf]], [[0.13, np.nan, np.inf]])
    assert instrument_error(made(), subject, gains(0.5, 0.2)) == pytest.approx(0.03)


def test_the_error_is_at_least_the_rounding_of_the_type() -> None:
    array = norms(np.full((FAMILIES, EACH), 3.0))
    values = xr.DataArray([50.0, -200.0], dims="prompt")
    for dtype, unit in (("float32", 1e-6), ("bfloat16", 4e-3), ("float16", 5e-4)):
        subject = Subject(observed(array), dtype=dtype)
        assert instrument_error(made(), subject, values) == pytest.approx(200 * unit)
        small = xr.DataArray([0.1], dims="prompt")
        assert instrument_error(made(), subject, small) == pytest.approx(unit)
    # Counts and other exact facts are exact.
    assert instrument_error(made(predicts=equals(3)), Subject(observed(array)), values) == 0.0


def test_arrays_must_agree_on_their_labels() -> None:
    array = norms(gains(0.5, 0.1))

    def aligned(residual_norm: Any) -> Any:
        """Ratio of neighbours."""
        return residual_norm.isel(layer=[1]) / residual_norm.isel(layer=[0])

    # xarray by itself would silently give an empty array.
    assert aligned(array).size == 0
    with pytest.raises(ValueError, match="exact"):
        call(aligned, {"residual_norm": array}, ("residual_norm",))


def test_derived_observables_are_computed_once_from_what_was_measured() -> None:

    planted = gains(0.5, 0.1)
    observations = observed(norms(planted))
    grown = observations["log_growth"]
    assert grown.isel(layer=0).values == pytest.approx(planted.ravel())
    assert observations["log_growth"] is grown
    assert set(observations) == {"residual_norm", "log_growth"}
    with pytest.raises(RefutableError, match="'next_token_entropy' was not measured"):
        observations["next_token_entropy"]


def test_the_studys_own_procedure_is_kept_beside() -> None:
    planted = gains(0.02, 0.2)

    def raw(residual_norm: Any) -> Any:
        return residual_norm.isel(layer=-1, drop=True) / residual_norm.isel(layer=-2, drop=True)

    spec = replication(raw, statement="25 prompts as independent", above=1.0, published={"m": 1.1})
    measured = evaluate(made(replication=spec), Subject(observed(norms(planted)))).replication
    assert measured is not None
    ratio = np.exp(planted.ravel())
    test = stats.ttest_1samp(ratio, 1.0).confidence_interval(0.95)
    assert measured.estimate.value == pytest.approx(ratio.mean())
    assert (measured.estimate.low, measured.estimate.high) == pytest.approx((test.low, test.high))
    inside, outside = test.low > 1.0, test.high < 1.0
    word = "as claimed" if inside else "the opposite" if outside else "not significant"
    assert measured.reading == f"would say: {word}"


def test_a_pooled_correlation_is_pearsons() -> None:
    planted = gains(0.5, 0.2)
    source = np.random.default_rng(5)
    other = planted + 0.1 * source.standard_normal(planted.shape)

    def both(residual_norm: Any) -> Any:
        """Gain, and what goes with it."""
        gain = np.log(residual_norm.isel(layer=1, drop=True) / 2.0)
        return gain, gain.copy(data=other.ravel())

    spec = replication(both, statement="pooled", above=0.0, statistic="pooled correlation")
    claimed = made(both, predicts=correlation.above(0.0), replication=spec)
    measured = evaluate(claimed, Subject(observed(norms(planted)))).replication
    assert measured is not None
    r = stats.pearsonr(planted.ravel(), other.ravel()).statistic
    assert measured.estimate.value == pytest.approx(r)
    assert measured.reading == "would say: as claimed"


def test_draws_depend_on_claim_and_model_alone() -> None:
    # CRC-32 of "gain.grows|a": the same on every machine and in every process.
    assert seed_of("gain.grows", "a") == 3910342877
    assert len({seed_of(c, m) for c in "abc" for m in "xyz"}) == 9
    planted = observed(norms(gains(0.1, 0.3)))
    twice = [evaluate(made(), Subject(planted), model="m").judgement for _ in range(2)]
    assert twice[0] == twice[1]
