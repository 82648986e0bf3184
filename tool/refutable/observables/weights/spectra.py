"""Power laws fitted to the tails of weight spectra, held against a log-normal; advisory.

The fit is that of Clauset, Shalizi and Newman (2009, SIAM Review 51). The package ``powerlaw``
makes the same one in up to a second a matrix; this one takes milliseconds, and the tests hold it to
that package's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

FEWEST = 10
"""Positive values without which there is no fit, and values in the shortest tail that is tried."""
MEASURES = ("exponent", "tail_share", "log_normal_z")
"""What `tail_of` says of a spectrum, in the order of `Tail`."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A power law p(x) ~ x^-alpha above a cut-off, and a log-normal fitted to the same values."""

    exponent: float
    """alpha, by maximum likelihood, above the cut-off of least Kolmogorov-Smirnov distance."""
    share: float
    """Share of the values that lie above the cut-off."""
    log_normal_z: float
    """Vuong's (1989) normalised ratio of likelihoods, log-normal over power law: above 1.645 the
    log-normal fits better at the level of 5 %."""


def tail_exponent(values: Values) -> float:
    """Exponent of a power law fitted to the upper tail of positive values; see `tail_of`."""
    return tail_of(values).exponent


def tail_of(values: Values) -> Tail:
    """Fit a power law and a log-normal to the upper tail of positive values.

    Parameters
    ----------
    values : array (component,)
        Such as the eigenvalues of W^T W; those of 1e-10 of the largest or less are left out.

    Returns
    -------
    Tail
        NaN throughout for fewer than ten positive values, or where all are the same.
    """
    logs = np.sort(np.log(values[values > values.max(initial=0.0) * 1e-10]))
    if logs.size < FEWEST or logs[-1] - logs[0] < 1e-9:
        return Tail(*[float("nan")] * 3)
    start, exponent = _cut_off(logs)
    tail = logs[start:] - logs[start]
    return Tail(exponent, tail.size / logs.size, _log_normal_z(tail, exponent))


def spectrum_tail(matrix: NDArray[np.floating]) -> Tail:
    """Tail of the eigenvalues of one matrix's W^T W, not centred."""
    from scipy.linalg import eigvalsh

    wide = np.asarray(matrix, dtype=np.float32)
    small = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    return tail_of(np.asarray(eigvalsh(small, check_finite=False), dtype=np.float64))


def _cut_off(logs: Values) -> tuple[int, float]:
    """Place of the cut-off of least distance in rising logarithms, and the exponent above it."""
    best = (np.inf, 0, float("nan"))
    sums = np.cumsum(logs[::-1])[::-1]
    for start in range(logs.size - FEWEST + 1):
        count = logs.size - start
        excess = float(sums[start]) - count * float(logs[start])
        if excess <= 0:
            break
        slope = count / excess
        expected = -np.expm1(-slope * (logs[start:] - logs[start]))
        distance = float(np.abs(expected - np.arange(count) / count).max())
        best = min(best, (distance, start, 1.0 + slope))
    return best[1], best[2]


def _log_normal_z(tail: Values, exponent: float) -> float:
    """Vuong's ratio for logarithms above the cut-off's, which is 0 here.

    In logarithms the power law is an exponential density and the log-normal a normal one, both cut
    off at 0; the Jacobian is the same and falls out of the ratio. With u the logarithm times
    (alpha - 1), the normal is exp(-b u - c u^2 / 2) / Z, of which c = 0 is the power law itself: a
    log-normal is never much worse, and the question is whether it is better by more than chance.
    """
    from scipy.optimize import minimize
    from scipy.special import erfcx, log_ndtr

    scaled = tail * (exponent - 1.0)
    means = float(scaled.mean()), float((scaled**2).mean())

    def log_total(b: float, c: float) -> float:
        root = np.sqrt(c)
        if b > 0:
            return float(0.5 * np.log(np.pi / 2) - np.log(root) + np.log(erfcx(b / root / 2**0.5)))
        return float(0.5 * np.log(2 * np.pi) - np.log(root) + (b / root) ** 2 / 2) + float(
            log_ndtr(-b / root)
        )

    def loss(at: Values) -> float:
        b, c = float(at[0]), float(np.exp(at[1]))
        return b * means[0] + c * means[1] / 2 + log_total(b, c)

    fit = minimize(loss, np.array([0.5, -1.0]), method="L-BFGS-B", bounds=[(-1e3, 1e3), (-14, 14)])
    b, c = float(fit.x[0]), float(np.exp(fit.x[1]))
    ratio = -b * scaled - c * scaled**2 / 2 - log_total(b, c) + scaled
    spread = float(ratio.std())
    return float(ratio.sum() / (np.sqrt(tail.size) * spread)) if spread > 1e-12 else 0.0
