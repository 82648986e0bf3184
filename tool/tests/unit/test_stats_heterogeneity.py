"""The random-effects mean: published figures, brute force, and how often its intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refutable.stats.heterogeneity import between_variance, random_effects

# Thirteen trials of BCG (Colditz et al. 1994): cases and others, vaccinated and not.
BCG = np.array(
    [
        (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619),
        (33, 5036, 47, 5761), (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892),
        (29, 7470, 45, 7232), (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ]
)  # fmt: skip


def risk_ratios() -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d = BCG.T
    value = np.log(a / (a + b) / (c / (c + d)))
    return value, np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))


def test_published_figures_of_the_bcg_trials():
    """Variance 0.318 and mean -0.715 (Viechtbauer, Journal of Statistical Software 2010)."""
    value, error = risk_ratios()
    pooled = random_effects(value, error)
    assert pooled.tau**2 == pytest.approx(0.318, abs=0.001)
    assert pooled.value == pytest.approx(-0.715, abs=0.001)
    assert pooled.i2 == pytest.approx(0.921, abs=0.001)


def test_each_number_by_another_way():
    value, error = risk_ratios()
    pooled = random_effects(value, error)
    grid = np.linspace(0, 2, 200_001)[:, None]
    weights = 1 / (error**2 + grid)
    means = (weights * value).sum(1) / weights.sum(1)
    q = (weights * (value - means[:, None]) ** 2).sum(1)
    best = np.abs(q - 12).argmin()
    assert pooled.tau**2 == pytest.approx(grid[best, 0], abs=1e-5)
    # A weighted regression on a constant whose residual variance is estimated.
    x = np.sqrt(weights[best])[:, None]
    beta, rest, *_ = np.linalg.lstsq(x, x[:, 0] * value, rcond=None)
    se = np.sqrt(max(rest[0] / 12, 1.0) / (x**2).sum())
    low, high = stats.t.interval(0.95, 12, loc=beta[0], scale=se)
    assert (pooled.low, pooled.high) == pytest.approx((low, high), abs=1e-5)
    ends = stats.t.interval(0.95, 11, loc=beta[0], scale=np.hypot(se, np.sqrt(grid[best, 0])))
    assert (pooled.predicted_low, pooled.predicted_high) == pytest.approx(ends, abs=1e-5)


def test_models_that_agree_have_no_variance_between_them():
    pooled = random_effects([1.0, 1.1, 0.9, 1.05, 0.95], [0.5] * 5)
    assert (pooled.tau, pooled.i2) == (0.0, 0.0)
    # Never narrower than the plain interval of the pooled mean.
    assert pooled.high - pooled.value >= 0.5 / np.sqrt(5) * stats.t.isf(0.025, 4) - 1e-12


@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("models", [5, 12])
def test_intervals_cover_for_models_drawn_from_a_kind(models, tau):
    """Nominal 95 %: the mean in at least 93 %, one more model in at least 87."""
    rng = np.random.default_rng([models, int(tau)])
    mean = more = 0
    for _ in range(800):
        errors = np.sqrt(rng.uniform(0.3, 2.0, models))
        drawn = rng.normal(0, tau, models + 1)
        pooled = random_effects(drawn[:-1] + rng.normal(0, errors), errors)
        mean += pooled.low <= 0 <= pooled.high
        more += pooled.predicted_low <= drawn[-1] <= pooled.predicted_high
    assert mean / 800 > 0.93
    assert more / 800 > 0.87


@pytest.mark.parametrize(
    ("values", "errors"),
    [([1.0, 2.0], [1.0, 1.0]), ([1, np.nan, 2], [1, 1, 1]), ([1, 2, 3], [1, 0, 1])],
)
def test_what_cannot_be_summed_up_is_refused(values, errors):
    with pytest.raises(ValueError, match="expected"):
        random_effects(values, errors)


def test_equal_estimates():
    assert between_variance(np.ones(4), np.ones(4)) == 0.0
