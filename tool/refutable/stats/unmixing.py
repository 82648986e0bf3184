"""What each family adds to a correlation, and how much of its mean is noise of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refutable.stats import core
from refutable.stats.core import Floats

SHARE_TAIL = 0.1
"""Either tail of the interval for how much of the variance of family means is noise."""


@dataclass(frozen=True, slots=True)
class FamilySums:
    """What each family adds to the variances and the covariance of x and y, (..., family)."""

    sizes: Floats
    """(family,)."""
    means: tuple[Floats, Floats]
    xx: Floats
    """Sum of squares about the family's own mean; ``yy`` and ``xy`` likewise."""
    yy: Floats
    xy: Floats
    names: tuple[str, ...]

    def only(self, keep: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FamilySums:
        """Return the sums of some of the families."""
        x, y = self.means
        names = tuple(n for n, kept in zip(self.names, keep, strict=True) if kept)
        return FamilySums(
            self.sizes[keep], (x[..., keep], y[..., keep]), self.xx[..., keep],
            self.yy[..., keep], self.xy[..., keep], names,
        )  # fmt: skip


def family_sums(x: Floats, y: Floats, families: Sequence[str]) -> FamilySums:
    """Reduce two variables, (..., prompt), to the sums of each family."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    mx, names = core.group_means(x, families)
    my, _ = core.group_means(y, families)
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[str(f)] for f in families], dtype=np.intp)
    member = np.eye(len(names))[index]
    a, b = _clean(x - mx[..., index], x), _clean(y - my[..., index], y)
    return FamilySums(
        member.sum(axis=0), (mx, my), (a * a) @ member, (b * b) @ member, (a * b) @ member, names
    )


def within_z(sums: FamilySums) -> Floats:
    """Fisher z of centred values pooled over families; NaN where a variable does not vary."""
    xx, yy, xy = (part.sum(axis=-1) for part in (sums.xx, sums.yy, sums.xy))
    return _z(xy, xx, yy)


def between_z(sums: FamilySums) -> Floats:
    """Fisher z of the families' own means, which carry the noise of their prompts."""
    return core.fisher(core.pearson(*sums.means))


@dataclass(frozen=True, slots=True)
class Unmixing:
    """From the correlation of family means to that between families, without their prompts' noise.

    The mean of a family of n prompts carries a share 1 - s of noise, and with it of the correlation
    within families: r(means) = sqrt(s_x s_y) r(between) + sqrt((1 - s_x)(1 - s_y)) r(within). The
    shares come from the analysis of variance (F distribution); at an intra-class correlation of 0.1
    and 8 prompts half of what family means show is not theirs.
    """

    slopes: Floats
    """(way of reading the shares, ...): first as estimated, then at the ends of their intervals."""
    offsets: Floats
    known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """Whether more than noise varies between families, at every reading."""

    def ends(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Widest interval between families from one (as r) for the means; -1 to 1 if unknown."""
        with np.errstate(invalid="ignore", divide="ignore"):
            lows = ((low - self.offsets) / self.slopes).min(axis=0)
            highs = ((high - self.offsets) / self.slopes).max(axis=0)
        return (
            np.where(self.known, np.clip(lows, -1, 1), -1.0),
            np.where(self.known, np.clip(highs, -1, 1), 1.0),
        )

    def means(self, bound: float) -> Floats:
        """Correlations of family means that a correlation between families may give."""
        return np.clip(self.slopes * bound + self.offsets, -1, 1)


def unmixing(sums: FamilySums, *, tail: float = SHARE_TAIL) -> Unmixing:
    """Read how much of the family means' variances is noise, and what correlation it brings."""
    from scipy import stats

    free = float((sums.sizes - 1).sum())
    count = sums.sizes.size - 1
    per_mean = float((1 / sums.sizes).mean()) / max(free, 1.0)
    within = np.nan_to_num(core.fisher_back(within_z(sums)))
    quantiles = [None, *(stats.f.ppf(q, count, max(free, 1.0)) for q in (tail, 1 - tail))]
    ways = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    slopes, offsets, known = [], [], np.ones(np.shape(within), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = [
            part.sum(axis=-1) * per_mean / mean.var(axis=-1, ddof=1)
            for part, mean in zip((sums.xx, sums.yy), sums.means, strict=True)
        ]
    for way in ways:
        share = [
            n if quantiles[q] is None else n * quantiles[q] for n, q in zip(noise, way, strict=True)
        ]
        if way != (0, 0):
            known &= (share[0] < 1) & (share[1] < 1)
        share = [np.clip(part, 0.0, 1.0) for part in share]
        slopes.append(np.sqrt((1 - share[0]) * (1 - share[1])))
        offsets.append(np.sqrt(share[0] * share[1]) * within)
    return Unmixing(np.array(slopes), np.array(offsets), known & (free > 0))


def _z(xy: Floats, xx: Floats, yy: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        r = xy / np.sqrt(xx * yy)
    return np.asarray(np.where((xx > 0) & (yy > 0), core.fisher(r), np.nan))


def _clean(centred: Floats, values: Floats) -> Floats:
    """Set what is no more than the rounding of a mean to zero."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    return np.asarray(np.where(np.abs(centred) <= 8 * np.finfo(float).eps * largest, 0.0, centred))
