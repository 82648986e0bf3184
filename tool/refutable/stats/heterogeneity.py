"""What a quantity comes to over several models: a random-effects mean, and how much they differ.

Paule and Mandel's between-model variance, Hartung and Knapp's interval with their variance never
below the plain one (Röver, Knapp & Friede, BMC Medical Research Methodology 2015), and the
prediction interval of Higgins, Thompson & Spiegelhalter (JRSS A 2009) for one more such model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import RandomEffects
from refutable.stats.core import Floats, t_quantile


def random_effects(values: ArrayLike, errors: ArrayLike, *, level: float = 0.95) -> RandomEffects:
    """Sum up estimates of one quantity on different models.

    Parameters
    ----------
    values : array, (model,)
        One estimate for each model.
    errors : array, (model,)
        Their standard errors, above 0.
    level : float
        Level of both intervals.

    Returns
    -------
    RandomEffects

    Raises
    ------
    ValueError
        If there are fewer than three models, or a number is not finite or an error not above 0.
    """
    y, variances = np.asarray(values, dtype=float), np.asarray(errors, dtype=float) ** 2
    if y.size < 3 or not (np.isfinite(y).all() and np.isfinite(variances).all()):
        raise ValueError("expected three models or more, with finite estimates")
    if not (variances > 0).all():
        raise ValueError("expected standard errors above 0")
    k = y.size
    between = between_variance(y, variances)
    weights = 1 / (variances + between)
    mean = float(weights @ y / weights.sum())
    scatter = float(weights @ (y - mean) ** 2) / (k - 1)
    se = float(np.sqrt(max(scatter, 1.0) / weights.sum()))
    half = float(t_quantile(level, k - 1)) * se
    reach = float(t_quantile(level, k - 2)) * np.sqrt(between + se**2)
    q = _q(0.0, y, variances)
    return RandomEffects(
        mean, mean - half, mean + half, mean - reach, mean + reach, float(np.sqrt(between)),
        max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
    )  # fmt: skip


def between_variance(values: Floats, variances: Floats) -> float:
    """Paule and Mandel's variance between models: that at which Cochran's Q is what it should be.

    Parameters
    ----------
    values : array, (model,)
        Estimates.
    variances : array, (model,)
        Their squared standard errors.
    """
    from scipy import optimize

    free = values.size - 1
    if _q(0.0, values, variances) <= free:
        return 0.0
    most = float(np.ptp(values)) ** 2 + float(variances.max())
    return float(optimize.brentq(lambda t: _q(t, values, variances) - free, 0.0, most, xtol=1e-14))


def _q(between: float, values: Floats, variances: Floats) -> float:
    weights = 1 / (variances + between)
    mean = weights @ values / weights.sum()
    return float(weights @ (values - mean) ** 2)
