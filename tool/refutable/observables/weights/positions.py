"""The table of position embeddings: periodicity, dominant dimensions, likeness of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

KINDS = ("raw", "centred", "standardised")
"""How a table is prepared before neighbours are correlated."""
_OVERSAMPLED = 4
_STEPS = 5


@dataclass(frozen=True, slots=True)
class SinusoidFit:
    """Least squares of a line, and of a line plus one sinusoid, for each dimension."""

    r2_line: Doubles
    r2: Doubles
    """Share of the variance over positions that line and sinusoid hold together."""
    period: Doubles
    """Of the best sinusoid, in positions."""


def fit_sinusoids(table: NDArray[np.floating]) -> SinusoidFit:
    """Fit ``a + b t + c cos(2 pi f t) + d sin(2 pi f t)`` to every dimension.

    Parameters
    ----------
    table : array (position, dim)
        Position embeddings.

    Returns
    -------
    SinusoidFit
        Arrays over ``dim``; NaN for a dimension that does not vary.

    Notes
    -----
    For every frequency of a grid four times as fine as the Fourier frequencies (from one period
    over the whole table to two positions a period) the sum of squares is exact; the best one is
    then refined by golden steps between its neighbours.
    """
    x = np.asarray(table, dtype=np.float64)
    n = len(x)
    total = ((x - x.mean(axis=0)) ** 2).sum(axis=0)
    line, rest = _without_line(x)
    grid = np.arange(_OVERSAMPLED, _OVERSAMPLED * n // 2 + 1) / (_OVERSAMPLED * n)
    best, held = np.zeros(x.shape[1]), np.full(x.shape[1], -1.0)
    for start in range(0, len(grid), 256):
        some = grid[start : start + 256]
        explained = _explained_on_grid(some, line, rest)
        at = explained.argmax(axis=0)
        value = explained[at, np.arange(x.shape[1])]
        best = np.where(value > held, some[at], best)
        held = np.maximum(value, held)
    width = 1 / (_OVERSAMPLED * n)
    for _ in range(_STEPS):
        width /= 2
        for step in (-width, width):
            moved = np.clip(best + step, 1 / n, 0.5)
            value = _explained(moved, line, rest)
            best = np.where(value > held, moved, best)
            held = np.maximum(value, held)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (rest**2).sum(axis=0)
        scale = np.where(total > 0, total, np.nan)
        return SinusoidFit(1 - left / scale, 1 - (left - held) / scale, 1 / best)


def _without_line(x: Doubles) -> tuple[Doubles, Doubles]:
    """Orthonormal basis of constant and slope, and the table less its projection on it."""
    n = len(x)
    basis, _ = np.linalg.qr(np.stack([np.ones(n), np.arange(n) - (n - 1) / 2], axis=1))
    return basis, x - basis @ (basis.T @ x)


def _explained_on_grid(frequencies: Doubles, line: Doubles, rest: Doubles) -> Doubles:
    """Sum of squares that a sinusoid of each frequency takes from `rest`, (frequency, dim)."""
    angle = 2 * np.pi * np.arange(len(rest))[:, None] * frequencies
    cos, sin = np.cos(angle), np.sin(angle)
    cos -= line @ (line.T @ cos)
    sin -= line @ (line.T @ sin)
    return _squares(
        (cos**2).sum(axis=0)[:, None],
        (sin**2).sum(axis=0)[:, None],
        (cos * sin).sum(axis=0)[:, None],
        cos.T @ rest,
        sin.T @ rest,
    )


def _explained(frequencies: Doubles, line: Doubles, rest: Doubles) -> Doubles:
    """The same with one frequency of its own for each dimension, (dim,)."""
    angle = 2 * np.pi * np.arange(len(rest))[:, None] * frequencies
    cos, sin = np.cos(angle), np.sin(angle)
    cos -= line @ (line.T @ cos)
    sin -= line @ (line.T @ sin)
    return _squares(
        (cos**2).sum(axis=0),
        (sin**2).sum(axis=0),
        (cos * sin).sum(axis=0),
        (cos * rest).sum(axis=0),
        (sin * rest).sum(axis=0),
    )


def _squares(cc: Doubles, ss: Doubles, cs: Doubles, cx: Doubles, sx: Doubles) -> Doubles:
    """Explained sum of squares from the two-by-two normal equations."""
    determinant = cc * ss - cs**2
    single = np.divide(cx**2, cc, out=np.zeros_like(cx), where=np.broadcast_to(cc > 1e-9, cx.shape))
    both = ss * cx**2 - 2 * cs * cx * sx + cc * sx**2
    # At two positions a period the sine vanishes: there the cosine stands alone.
    regular = np.broadcast_to(determinant > 1e-9 * (cc + ss) ** 2, cx.shape)
    return np.asarray(np.divide(both, determinant, out=single, where=regular))


def top_fourier_share(table: NDArray[np.floating], components: int = 3) -> Doubles:
    """Share of a dimension's variance over positions in its largest Fourier components.

    Returns
    -------
    array (dim,)
        NaN for a dimension that does not vary.
    """
    x = np.asarray(table, dtype=np.float64)
    power = np.abs(np.fft.rfft(x - x.mean(axis=0), axis=0)[1:]) ** 2
    if len(x) % 2 == 0:
        power[-1] /= 2  # the last frequency has no mirror image
    total = power.sum(axis=0)
    top = np.partition(power, -components, axis=0)[-components:].sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(top / np.where(total > 0, total, np.nan))


def prepare(table: NDArray[np.floating], kind: str) -> Doubles:
    """Centre each dimension over positions, or scale it to unit variance too.

    Parameters
    ----------
    table : array (position, dim)
        Position embeddings.
    kind : {"raw", "centred", "standardised"}
        ``raw`` leaves it: a mean vector shared by all positions then makes all of them alike.
        ``centred`` removes that; ``standardised`` also keeps a few large dimensions from
        deciding alone.
    """
    x: Doubles = np.array(table, dtype=np.float64)
    if kind == "raw":
        return x
    x -= x.mean(axis=0)
    if kind == "centred":
        return x
    if kind != "standardised":
        raise ValueError(f"expected kind from {KINDS}, got kind={kind!r}")
    sd = x.std(axis=0)
    return np.asarray(x / np.where(sd > 0, sd, 1.0))


def adjacent_correlation(table: NDArray[np.floating], kind: str = "raw") -> Doubles:
    """Pearson correlation over dimensions of each position with the next.

    Returns
    -------
    array (position,)
        One fewer than positions.
    """
    x = prepare(table, kind)
    x = x - x.mean(axis=1, keepdims=True)
    size = np.sqrt((x**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x[:-1] * x[1:]).sum(axis=1) / (size[:-1] * size[1:]))
