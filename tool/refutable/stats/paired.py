"""Two releases on the same prompts: whether a quantity changed by more than a margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from refutable.stats import core

ALPHA = 0.05
"""Level of the change test, before Holm over the claims of a gate."""


@dataclass(frozen=True, slots=True)
class PairedChange:
    """Candidate minus base for one claim, families paired."""

    value: float
    low: float
    """Lower end of the two-sided 90 % interval."""
    high: float
    margin: float
    p: float | None
    """Of the test that the change exceeds the margin; ``None`` for an exact fact."""
    families: int
    same: bool
    """The 90 % interval lies inside the margin."""
    changed: bool
    """The change exceeds the margin at 5 %, before any correction (a fact: exactly)."""


def paired_change(
    differences: ArrayLike, *, margin: float, error: float = 0.0, level: float = 0.90
) -> PairedChange:
    """Test whether a paired change exceeds a margin, and whether it stays inside.

    The null hypothesis is abs(change) <= margin; p is exact at its edge (both tails count). SAME is
    two one-sided tests at 5 %. Differences that agree within the instrument's error are a fact and
    compared by value.

    Parameters
    ----------
    differences : array, (family,)
        Candidate minus base, one mean difference per family. Without any, or with one that is not
        a number, nothing can be said: p is 1.
    margin : float
        Smallest difference called a change; at least the numerical noise.
    error : float
        Numerical noise of one difference.
    level : float
        Level of the interval behind SAME.
    """
    from scipy import stats

    d = np.asarray(differences, dtype=float)
    if d.size == 0 or not np.isfinite(d).all():
        return PairedChange(np.nan, -np.inf, np.inf, margin, 1.0, d.size, False, False)
    value, spread = float(d.mean()), float(d.std(ddof=1)) if d.size > 1 else np.inf
    if (d.size > 1 and spread <= error) or np.abs(d).max() <= error:
        return exact_change(value, margin=margin, error=error, families=d.size)
    if d.size < 2:
        return PairedChange(value, -np.inf, np.inf, margin, 1.0, d.size, False, False)
    limits = core.t_limits(d, level=level)
    se = max(float(limits.se), np.finfo(float).tiny)
    p = float(
        stats.t.sf((abs(value) - margin) / se, d.size - 1)
        + stats.t.sf((abs(value) + margin) / se, d.size - 1)
    )
    low, high = float(limits.low), float(limits.high)
    same = -margin <= low and high <= margin
    return PairedChange(value, low, high, margin, min(p, 1.0), d.size, same, p <= ALPHA)


def exact_change(
    value: float, *, margin: float, error: float = 0.0, families: int = 0
) -> PairedChange:
    """Compare a fact without sampling: changed when it moved by more than margin or noise."""
    moved = abs(value) > max(margin, error)
    return PairedChange(
        value, value - error, value + error, margin, None, families, not moved, moved
    )


def unpaired_change(
    base: tuple[float, float, int],
    candidate: tuple[float, float, int],
    *,
    margin: float,
    level: float = 0.90,
) -> PairedChange:
    """Do the same from two estimates whose families cannot be paired (Welch).

    Parameters
    ----------
    base, candidate : tuple of (value, sd, families)
        Mean over families, spread between them and their number.
    margin, level
        As for `paired_change`.
    """
    from scipy import stats

    parts = [sd**2 / n for _, sd, n in (base, candidate)]
    total = sum(parts)
    value, families = candidate[0] - base[0], min(base[2], candidate[2])
    if total <= 0:
        return exact_change(value, margin=margin, families=families)
    df = total**2 / sum(
        part**2 / (n - 1) for part, (_, _, n) in zip(parts, (base, candidate), strict=True)
    )
    se = float(np.sqrt(total))
    p = float(
        stats.t.sf((abs(value) - margin) / se, df) + stats.t.sf((abs(value) + margin) / se, df)
    )
    half = float(core.t_quantile(level, df)) * se
    same = -margin <= value - half and value + half <= margin
    return PairedChange(
        value, value - half, value + half, margin, min(p, 1.0), families, same, p <= ALPHA
    )
