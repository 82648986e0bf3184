"""Moments of weights and their distance from a normal distribution; every element is used."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

STATISTICS = ("mean", "sd", "minimum", "maximum", "skewness", "excess_kurtosis", "ks_normal")
"""Rows of the table of statistics, in its order."""
_PIECE = 1 << 16
"""Elements widened to float64 at once: what a core's cache holds."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of all elements seen; combine with ``+``."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared deviations from the mean; `m3` and `m4` of their cubes and fourth powers."""
    m3: float = 0.0
    m4: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def __add__(self, other: Moments) -> Moments:
        """Moments of both together (Pébay, SAND2008-6212)."""
        if not self.n or not other.n:
            return other if not self.n else self
        a, b = self.n, other.n
        n, delta = a + b, other.mean - self.mean
        step = delta / n
        m2 = self.m2 + other.m2 + delta * step * a * b
        m3 = (
            self.m3
            + other.m3
            + delta * step**2 * a * b * (a - b)
            + 3 * step * (a * other.m2 - b * self.m2)
        )
        m4 = (
            self.m4
            + other.m4
            + delta * step**3 * a * b * (a * a - a * b + b * b)
            + 6 * step**2 * (a * a * other.m2 + b * b * self.m2)
            + 4 * step * (a * other.m3 - b * self.m3)
        )
        return Moments(
            n,
            self.mean + b * step,
            m2,
            m3,
            m4,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def sd(self) -> float:
        """Population standard deviation."""
        return math.sqrt(self.m2 / self.n) if self.n else math.nan

    @property
    def skewness(self) -> float:
        """Third standardised moment; NaN where nothing varies."""
        return math.sqrt(self.n) * self.m3 / self.m2**1.5 if self.m2 > 0 else math.nan

    @property
    def excess_kurtosis(self) -> float:
        """Fourth standardised moment less 3: 0 for a normal, 3 for a Laplace distribution."""
        return self.n * self.m4 / self.m2**2 - 3 if self.m2 > 0 else math.nan


def moments(pieces: Iterable[Floats]) -> Moments:
    """Moments of a tensor given in pieces, exact to float64 rounding.

    Parameters
    ----------
    pieces : iterable of array
        Of any shape.
    """
    total = Moments()
    for piece in pieces:
        # As it lies in memory: the order does not matter, and a transposed matrix is not copied.
        flat = piece.ravel(order="K")
        for start in range(0, flat.size, _PIECE):
            total += _moments(flat[start : start + _PIECE].astype(np.float64))
    return total


def _moments(x: NDArray[np.float64]) -> Moments:
    mean = float(x.mean())
    low, high = float(x.min()), float(x.max())
    x -= mean
    square = x * x
    return Moments(
        x.size, mean, float(square.sum()), float(square @ x), float(square @ square), low, high
    )


def ks_to_normal(values: Floats, mean: float | None = None, sd: float | None = None) -> float:
    """Kolmogorov-Smirnov distance of a sample from the normal distribution fitted to it.

    Parameters
    ----------
    values : array
        Of any shape; all elements are used.
    mean, sd : float, optional
        Of the normal; the sample's own by default.

    Returns
    -------
    float
        Largest difference of the two distribution functions; NaN where nothing varies. A
        distance, never a p value: with a million weights every p is 0.
    """
    from scipy.special import ndtr

    if mean is None or sd is None:
        of_values = moments([values])
        mean, sd = of_values.mean, of_values.sd
    if not sd > 0:
        return math.nan
    ordered = np.sort(values, axis=None)
    n, worst = ordered.size, 0.0
    for start in range(0, n, _PIECE):
        expected = ndtr((ordered[start : start + _PIECE].astype(np.float64) - mean) / sd)
        before = np.arange(start, start + expected.size) / n
        above = float((expected - before).max())
        below = float((before - expected).max()) + 1 / n
        worst = max(worst, above, below)
    return worst


def describe(matrix: Floats) -> NDArray[np.float64]:
    """Statistics of one matrix in the order of `STATISTICS`."""
    of_matrix = moments([matrix])
    return np.array(
        [
            of_matrix.mean,
            of_matrix.sd,
            of_matrix.minimum,
            of_matrix.maximum,
            of_matrix.skewness,
            of_matrix.excess_kurtosis,
            ks_to_normal(matrix, of_matrix.mean, of_matrix.sd),
        ]
    )


def row_variances(*matrices: Floats) -> NDArray[np.float64]:
    """Variance of each row of (in, out) matrices side by side: how much a feature's weights vary.

    They are never copied to lie side by side.
    """
    counts = np.array([matrix.shape[1] for matrix in matrices])
    by_matrix = [_row_moments(matrix) for matrix in matrices]
    means = np.array([mean for mean, _ in by_matrix])
    within = np.array([variance for _, variance in by_matrix])
    whole = counts @ means / counts.sum()
    spread: NDArray[np.float64] = counts @ (within + (means - whole) ** 2) / counts.sum()
    return spread


def _row_moments(matrix: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each row, in float64 a piece at a time."""
    step = max(1, _PIECE // matrix.shape[1])
    pieces = [matrix[at : at + step] for at in range(0, len(matrix), step)]
    return (
        np.concatenate([piece.mean(axis=1, dtype=np.float64) for piece in pieces]),
        np.concatenate([piece.var(axis=1, dtype=np.float64) for piece in pieces]),
    )
