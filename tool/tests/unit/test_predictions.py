"""The vocabulary of predictions on labelled arrays with planted values."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from support.labels import labelled, noise

from refutable.errors import ClaimError
from refutable.predictions import (
    Measured,
    contrast,
    correlation,
    equals,
    every,
    fact,
    mean,
    ordered,
    share,
    trend,
)
from refutable.records import Verdict

C, R, I = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE  # noqa: E741
JUDGE = {"error": 1e-6, "seed": 1, "unit": "log ratio"}


def verdict(prediction, values, **changes):
    return prediction.judge(Measured(values, **(JUDGE | changes))).decision.verdict


@pytest.mark.parametrize(
    ("prediction", "centre", "expected"),
    [
        (mean.above(0.02), 0.5, C),
        (mean.below(0.02), 0.5, R),
        (mean.above(0.5), 0.5, I),
        (mean.within(0.2, 0.8), 0.5, C),
        (mean.within(0.6, 0.8), 0.5, R),
    ],
)
def test_mean(prediction, centre, expected):
    values = labelled(centre + 0.01 * noise(0, 40), 8, 5)
    assert verdict(prediction, values) is expected


def test_mean_of_four_families_is_open_whatever_the_effect():
    judged = mean.above(0.0).judge(Measured(labelled(5 + noise(0, 40), 4, 10), **JUDGE))
    assert judged.decision.verdict is I
    assert "4 prompt families" in judged.decision.reason
    assert judged.families_needed is not None


def test_mean_says_the_same_with_prompts_in_another_order():
    values = labelled(0.1 + noise(3, 40), 8, 5)
    shuffled = values.isel(prompt=np.random.default_rng(0).permutation(40))
    one, two = (mean.above(0.0).judge(Measured(v, **JUDGE)).estimate for v in (values, shuffled))
    assert one.value == pytest.approx(two.value)
    assert (one.low, one.high) == pytest.approx((two.low, two.high))


def test_a_body_that_forgot_to_reduce_a_dim_is_an_error():
    with pytest.raises(ClaimError, match="expected the body to return an array over"):
        mean.above(0.0).judge(Measured(labelled(np.zeros((6, 3)), 3, 2), **JUDGE))
    with pytest.raises(ClaimError, match="lost the coordinate 'family'"):
        mean.above(0.0).judge(Measured(xr.DataArray(np.zeros(3), dims=("prompt",)), **JUDGE))
    with pytest.raises(ClaimError, match="got dims"):
        mean.above(0.0).judge(Measured(np.zeros(3), **JUDGE))


def test_every_names_the_worst_counterexample():
    values = np.full(12, 0.3)
    values[[4, 7]] = -0.02, -0.05
    judged = every.above(0.0).judge(Measured(labelled(values, 4, 3), **JUDGE))
    assert judged.decision.verdict is R
    assert judged.counterexample.prompt == "f2/1"
    assert judged.counterexample.value == pytest.approx(-0.05)
    assert judged.estimate.p is None


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [(-0.004, 0.0, I), (-0.006, 0.0, R), (-0.006, 0.001, I), (-0.011, 0.001, R)],
)
def test_it_must_violate_by_more_than_tolerance_and_ten_errors(value, error, expected):
    values = labelled([0.1, 0.2, value], 3, 1)
    assert verdict(every.above(0.0), values, error=error) is expected


def test_every_searches_further_dims_and_is_never_confirmed():
    values = np.full((6, 4), 0.5)
    assert verdict(every.within(0.0, 1.0), labelled(values, 3, 2)) is I
    values[2, 3] = 1.2
    judged = every.within(0.0, 1.0).judge(Measured(labelled(values, 3, 2), **JUDGE))
    assert judged.counterexample.prompt == "f1/0"
    assert verdict(every(tolerance=0.5).within(0.0, 1.0), labelled(values, 3, 2)) is I


def test_share_counts_families_as_units():
    values = labelled(np.tile([0.5, 0.5, 0.5, -0.5], 30), 30, 4)
    judged = share.above(0.5, over=0.0).judge(Measured(values, **JUDGE))
    assert judged.estimate.value == 0.75
    assert judged.decision.verdict is C
    assert verdict(share.above(0.7, over=0.0), values) is I
    assert verdict(share.below(0.5, over=0.0), values) is R


def test_share_widens_by_values_too_near_the_limit_to_tell():
    values = labelled(np.tile([0.5, 0.001], 10), 10, 2)
    sharp = share.above(0.6, over=0.0).judge(Measured(values, **JUDGE)).estimate
    blunt = share.above(0.6, over=0.0).judge(Measured(values, **(JUDGE | {"error": 0.01}))).estimate
    assert (sharp.value, sharp.low) == (1.0, pytest.approx(0.025 ** (1 / 10)))
    # One prompt of each family may or may not hold: from half of them to all.
    half = stats.binomtest(5, 10).proportion_ci(0.95, method="exact")
    assert (blunt.low, blunt.high) == (pytest.approx(half.low), 1.0)
    assert blunt.p == pytest.approx(2 * stats.binom.cdf(5, 10, 0.6))


def test_correlation_needs_both_parts():
    rng = np.random.default_rng(0)
    centre, inner = np.repeat(np.linspace(0, 9, 10), 8), rng.normal(size=80)
    x = labelled(centre + inner, 10, 8)
    along = labelled(centre + inner + 0.2 * noise(1, 80), 10, 8)
    split = labelled(centre - inner + 0.2 * noise(1, 80), 10, 8)
    assert verdict(correlation.above(0.2), (x, along)) is C
    judged = correlation.above(0.2).judge(Measured((x, split), **JUDGE))
    assert judged.decision.verdict is R
    assert judged.estimate.part == "within families"
    assert [p.part for p in judged.parts] == ["between families", "within families"]
    dataset = xr.Dataset({"gain": x, "entropy": along})
    assert verdict(correlation.above(0.2), dataset) is C


def test_trend_needs_both_views_of_the_profile():
    blocks = np.arange(8.0)
    rising = 0.3 * blocks + 0.1 * noise(2, 320).reshape(40, 8)
    assert verdict(trend(over="layer").above(0.0), labelled(rising, 8, 5)) is C
    # Flat but for its ends: the slope over all blocks is one of two blocks only.
    ends = 0.1 * noise(2, 320).reshape(40, 8)
    ends[:, 0] -= 5
    ends[:, -1] += 5
    judged = trend(over="layer").above(0.5).judge(Measured(labelled(ends, 8, 5), **JUDGE))
    assert judged.decision.verdict is I
    assert judged.parts[0].low > 0.5
    assert judged.parts[1].high < 0.5


def test_trend_over_few_blocks_is_open():
    judged = (
        trend()
        .above(0.0)
        .judge(Measured(labelled(np.arange(4.0) + np.zeros((40, 1)), 8, 5), **JUDGE))
    )
    assert judged.decision.verdict is I
    assert "4 blocks" in judged.decision.reason


def test_contrast_pairs_families():
    shared = 10 * noise(4, 40)
    a, b = labelled(shared + 0.2 + 0.01 * noise(5, 40), 8, 5), labelled(shared, 8, 5)
    judged = contrast("a", "b").above(0.1).judge(Measured({"a": a, "b": b}, **JUDGE))
    assert judged.decision.verdict is C  # the families' own spread of 10 cancels
    assert judged.estimate.value == pytest.approx(0.2, abs=0.01)
    assert verdict(contrast("b", "a").above(0.1), {"a": a, "b": b}) is R


def _seeds(shift, count, spread=0.0, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=40)
    return {
        s: labelled(shared + shift + spread * rng.normal() + 0.1 * rng.normal(size=40), 8, 5)
        for s in range(count)
    }


def test_contrast_of_seed_groups_is_two_way():
    values = {"a": _seeds(1.0, 6, 0.1, 1), "b": _seeds(0.0, 6, 0.1, 1)}
    judged = contrast("a", "b").above(0.5).judge(Measured(values, **JUDGE))
    assert (judged.decision.verdict, judged.estimate.seeds) == (C, 6)
    few = {name: {s: v[s] for s in range(4)} for name, v in values.items()}
    judged = contrast("a", "b").above(0.5).judge(Measured(few, **JUDGE))
    assert judged.decision.verdict is I
    assert "4 seeds" in judged.decision.reason
    # Seeds as far apart as the effect: many prompts cannot make up for them.
    loose = {"a": _seeds(1.0, 6, 2.0, 1), "b": _seeds(0.0, 6, 2.0, 2)}
    assert verdict(contrast("a", "b").above(0.5), loose) is I


def test_only_shared_seeds_are_paired():
    a, b = _seeds(1.0, 8, 0.1, 1), _seeds(0.0, 8, 0.1, 1)
    del a[0], b[7]
    judged = contrast("a", "b").above(0.5).judge(Measured({"a": a, "b": b}, **JUDGE))
    assert judged.estimate.seeds == 6


def _registers(centres, families):
    marks = np.repeat(list(centres), families * 3)
    values = np.repeat(list(centres.values()), families * 3) + 0.05 * noise(6, marks.size)
    return labelled(values, families * len(centres), 3, register=marks)


def test_ordered_over_registers():
    prediction = ordered("cliche", "factual", "novel", over="register", by=0.1)
    rising = _registers({"cliche": 1.0, "factual": 1.5, "novel": 2.0}, 6)
    judged = prediction.judge(Measured(rising, **JUDGE))
    assert judged.decision.verdict is C
    assert [p.part for p in judged.parts] == ["factual - cliche", "novel - factual"]
    swapped = _registers({"cliche": 1.5, "factual": 1.0, "novel": 2.0}, 6)
    judged = prediction.judge(Measured(swapped, **JUDGE))
    assert judged.decision.verdict is R
    assert judged.estimate.part == "factual - cliche"
    level = _registers({"cliche": 1.0, "factual": 1.1, "novel": 2.0}, 6)
    assert verdict(prediction, level) is I
    few = prediction.judge(
        Measured(_registers({"cliche": 1.0, "factual": 1.5, "novel": 2.0}, 4), **JUDGE)
    )
    assert few.decision.verdict is I
    assert "4 prompt families" in few.decision.reason


def test_ordered_takes_groups_of_one_level_together():
    prediction = ordered("a", ("b", "c"), over="register", by=0.1)
    judged = prediction.judge(Measured(_registers({"a": 0.0, "b": 1.0, "c": 3.0}, 6), **JUDGE))
    assert judged.estimate.value == pytest.approx(2.0, abs=0.05)
    assert judged.decision.verdict is C


def test_ordered_without_the_remark_is_open():
    judged = ordered("a", "b").judge(Measured(labelled(noise(0, 40), 8, 5), **JUDGE))
    assert judged.decision.verdict is I
    assert "does not say the register" in judged.decision.reason


def test_ordered_over_models_is_paired():
    shared = 5 * noise(7, 40)
    values = {
        name: labelled(shared + step + 0.01 * noise(i, 40), 8, 5)
        for i, (name, step) in enumerate({"small": 0.0, "medium": 0.5, "large": 1.0}.items())
    }
    prediction = ordered("small", "medium", "large", over="models", by=0.1)
    assert prediction.grouped
    assert verdict(prediction, values) is C
    assert verdict(ordered("large", "medium", over="models", by=0.1), values) is R


def test_facts():
    assert verdict(equals(124), 124, error=0.0) is C
    assert verdict(equals(124), 125, error=0.0) is R
    assert verdict(equals(1.0, tolerance=0.1), 1.1, error=0.0) is C
    assert verdict(equals(1.0, tolerance=0.1), 1.1001, error=0.0) is R
    assert verdict(equals(1.0, tolerance=0.1), 1.1, error=0.01) is I
    assert verdict(fact.below(0.5), xr.DataArray(0.3)) is C
    judged = fact.below(0.5).judge(Measured(0.7, **JUDGE))
    assert judged.decision.reason.startswith("does not hold for this checkpoint")
    assert judged.estimate.p is None


def test_predictions_say_what_they_predict():
    assert mean.below(-0.02).statement == "mean over families below -0.02"
    assert "above 0.5" in share.above(0.5, over=1.0).statement
    assert "a < b/c" in ordered("a", ("b", "c"), by=0.1).statement
    assert contrast("a", "b").above(0.0).title == "a~b"
    assert equals(124).statement == "value equal to 124 exactly"
    assert not equals(124).sampled
    assert mean.above(0.0).sampled


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mean.within(1.0, 1.0), "expected low < high"),
        (lambda: mean.above(float("nan")), "expected finite bounds"),
        (lambda: correlation.above(1.5), "between -1 and 1"),
        (lambda: share.above(1.5), "between 0 and 1"),
        (lambda: contrast("a", "a"), "two different models"),
        (lambda: ordered("a"), "two or more different groups"),
        (lambda: ordered("a", "b", by=-1.0), "by of 0 or more"),
        (lambda: equals(1.0, tolerance=-1.0), "tolerance of 0 or more"),
        (lambda: every(tolerance=-1.0), "tolerance of 0 or more"),
    ],
)
def test_malformed_predictions_are_refused(make, message):
    with pytest.raises(ClaimError, match=message):
        make()
