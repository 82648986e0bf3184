"""Moments and KS distance: against scipy, and the planted distributions of the study's row W5."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from refutable.observables.weights.distribution import (
    STATISTICS,
    Moments,
    describe,
    ks_to_normal,
    moments,
    row_variances,
)

N = 1_800_000
# Over seeds a t3 sample of this size gives .085 to .090 (its fourth moment is infinite, so its
# fitted sd is uncertain); the distribution itself has .0869, a Laplace .0620.


def _sample(kind, n=N):
    rng = np.random.default_rng(0)
    draw = {
        "normal": lambda: rng.standard_normal(n),
        "laplace": lambda: rng.laplace(size=n),
        "t3": lambda: rng.standard_t(3, size=n),
    }[kind]
    return (0.7 + 0.02 * draw()).astype(np.float32)


@pytest.mark.parametrize(("kind", "distance"), [("normal", 0.0), ("laplace", 0.062), ("t3", 0.087)])
def test_ks_distance_of_planted_samples(kind, distance):
    assert ks_to_normal(_sample(kind)) == pytest.approx(distance, abs=0.003)


@pytest.mark.parametrize("kind", ["normal", "laplace", "t3"])
def test_statistics_equal_scipy(kind):
    x = _sample(kind, 200_001).astype(np.float64)
    described = dict(zip(STATISTICS, describe(x.astype(np.float32).reshape(3, -1)), strict=True))
    assert described["mean"] == pytest.approx(x.mean(), abs=1e-9)
    assert described["sd"] == pytest.approx(x.std(), rel=1e-9)
    assert described["skewness"] == pytest.approx(scipy.stats.skew(x), abs=1e-8)
    assert described["excess_kurtosis"] == pytest.approx(
        scipy.stats.kurtosis(x), rel=1e-7, abs=1e-8
    )
    assert (described["minimum"], described["maximum"]) == (x.min(), x.max())
    expected = scipy.stats.kstest(x, scipy.stats.norm(x.mean(), x.std()).cdf).statistic
    assert described["ks_normal"] == pytest.approx(expected, abs=1e-9)


def test_pieces_give_what_the_whole_gives():
    x = _sample("t3", 300_000)
    whole, cut = moments([x]), moments([x[:7], x[7:100_000], x[100_000:]])
    for name in ("n", "mean", "sd", "skewness", "excess_kurtosis", "minimum", "maximum"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), rel=1e-10)
    assert Moments() + whole == whole == whole + Moments()


def test_kurtosis_of_the_two_families_of_heavy_tails():
    assert moments([_sample("laplace")]).excess_kurtosis == pytest.approx(3, abs=0.1)
    assert moments([_sample("normal")]).excess_kurtosis == pytest.approx(0, abs=0.02)
    assert moments([_sample("t3")]).excess_kurtosis > 10  # infinite in the limit


def test_ties_and_constants():
    two = np.array([-1.0, 1.0] * 500, dtype=np.float32)
    # Half of the mass jumps at one sd below the mean: 1/2 - Phi(-1).
    assert ks_to_normal(two) == pytest.approx(0.5 - scipy.stats.norm.cdf(-1), abs=1e-12)
    assert np.isnan(ks_to_normal(np.ones(9, dtype=np.float32)))
    assert np.isnan(moments([np.ones(9, dtype=np.float32)]).skewness)


def test_rows_are_input_features():
    matrix = np.array([[1, 1, 1], [0, 3, 6]], dtype=np.float32)
    np.testing.assert_allclose(row_variances(matrix), [0, 6])
