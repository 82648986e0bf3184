"""Predictions whose units are training seeds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from support import guarded

from refutable.errors import ClaimError
from refutable.predictions import Measured, NullControl, each_seed, over_seeds
from refutable.records import Verdict
from refutable.stats.estimate import two_way


def _judge(prediction, numbers, error=0.0):
    values = {"toy": dict(enumerate(numbers))}
    return prediction.judge(Measured(values, error=error, seed=0, unit="nats"))


def test_mean_over_seeds_is_the_t_interval_of_scipy():
    numbers = [0.30, 0.42, 0.25, 0.38, 0.33]
    judge = _judge(over_seeds("toy").above(0.0), numbers)
    low, high = stats.t.interval(0.95, 4, np.mean(numbers), stats.sem(numbers))
    assert judge.estimate.value == pytest.approx(np.mean(numbers))
    assert (judge.estimate.low, judge.estimate.high) == pytest.approx((low, high))
    assert judge.estimate.p == pytest.approx(guarded.of_mean(np.array(numbers), 0.0), rel=1e-6)
    assert (judge.estimate.n, judge.estimate.clusters) == (5, 5)
    assert judge.estimate.method == "t over training seeds"
    assert judge.decision.verdict is Verdict.CONFIRMED


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ([1.1, 1.2, 1.3, 1.2, 1.15], Verdict.REFUTED),
        ([0.9, 1.1, 0.8, 1.2, 1.0], Verdict.INCONCLUSIVE),
        ([0.1, 0.2, 0.15, 0.12], Verdict.INCONCLUSIVE),
        ([0.1, 0.2, 0.15, 0.12, float("nan")], Verdict.INCONCLUSIVE),
    ],
    ids=["outside", "across", "four seeds", "NaN"],
)
def test_verdicts_over_seeds(numbers, verdict):
    assert _judge(over_seeds("toy").below(1.0), numbers).decision.verdict is verdict


def _documents(table):
    """Values by seed of documents that are families of their own."""
    names = [f"document-{i}" for i in range(table.shape[1])]
    coords = {"prompt": names, "family": ("prompt", names)}
    return {s: xr.DataArray(row, dims="prompt", coords=coords) for s, row in enumerate(table)}


def test_values_of_prompts_make_families_units_beside_the_seeds():
    random = np.random.default_rng(2)
    table = 0.5 + 0.02 * random.standard_normal((6, 1)) + 0.4 * random.standard_normal((1, 14))
    table = table + 0.05 * random.standard_normal((6, 14))
    values = {"toy": _documents(table)}
    prediction = over_seeds("toy").above(0.0)
    estimate = prediction.judge(Measured(values, error=0.0, seed=0, unit="nats")).estimate
    expected = two_way(table, n=14, error=0.0, unit="nats", region=prediction.region)
    assert (estimate.value, estimate.low, estimate.high) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert (estimate.seeds, estimate.clusters, estimate.n) == (6, 14, 14)
    alone = _judge(prediction, table.mean(axis=1)).estimate
    assert estimate.high - estimate.low > 1.5 * (alone.high - alone.low), "documents vary most"
    copies = [{"toy": {0: _documents(table[:1] * 0.0 + 0.01 * s)[0]}} for s in range(5)]
    control = prediction.read_control(
        Measured(values, unit="nats"), NullControl("untrained", ("x",), tuple(copies), sesoi=0.05)
    )
    assert control.contrast.value == pytest.approx(table.mean() - 0.02)
    assert control.reading == "informative"


def test_each_seed_is_a_universal_statement_that_examples_do_not_confirm():
    prediction = each_seed("toy").equals(0.0, tolerance=1e-4)
    held = _judge(prediction, [0.0, 1e-4, -1e-5])
    assert held.decision.verdict is Verdict.INCONCLUSIVE
    assert held.decision.reason == "3 seeds, none outside the region (examples do not confirm)"
    assert len(held.parts) == 3
    broken = _judge(prediction, [0.0, 2e-4, -1e-5])
    assert broken.decision.verdict is Verdict.REFUTED
    assert broken.estimate.part == "seed 1"
    assert len(broken.parts) == 3
    assert prediction.statement == "value of each training seed of toy equal to 0 to within 0.0001"
    below = each_seed("toy").below(1.0)
    assert _judge(below, [0.5] * 40).decision.verdict is Verdict.INCONCLUSIVE
    assert "edge" in _judge(below, [0.5, 0.2], error=0.6).decision.reason
    assert _judge(below, [1.5], error=0.6).decision.verdict is Verdict.INCONCLUSIVE
    assert not prediction.sampled


def test_the_seed_that_settles_it_is_shown():
    holds = _judge(each_seed("toy").above(0.98), [0.997, 0.986, 0.99])
    assert (holds.estimate.part, holds.estimate.value) == ("seed 1", 0.986)
    fails = _judge(each_seed("toy").above(0.98), [0.97, 0.99, 0.91])
    assert (fails.estimate.part, fails.estimate.value) == ("seed 2", 0.91)


def test_misuse_is_refused():
    with pytest.raises(ClaimError, match="name of a group"):
        over_seeds("")
    with pytest.raises(ClaimError, match="low < high"):
        over_seeds("toy").within(1.0, 1.0)
    with pytest.raises(ClaimError, match="one number"):
        over_seeds("toy").below(1.0).judge(Measured({"toy": {0: np.zeros(3)}}))
    with pytest.raises(ClaimError, match="not measured"):
        over_seeds("toy").below(1.0).judge(Measured({}))
