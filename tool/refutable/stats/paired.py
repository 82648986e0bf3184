"""Two releases on the same prompts: whether a quantity changed by more than a margin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from refutable.records import Region
from refutable.stats import core, discrete
from refutable.stats.core import Floats

ALPHA = 0.05
"""Level of the change test, before Holm over the claims of a gate.

p is that of `refutable.stats.core.smallest_level`: on its scale 0.05 is where the guard decides, so
that neither skew nor a family far apart that one release alone shows passes for a change.
"""


@dataclass(frozen=True, slots=True)
class PairedChange:
    """Candidate minus base for one claim, families paired."""

    value: float
    low: float
    """Lower end of the guard, which decides; the interval is two-sided, of 99.5 %."""
    high: float
    margin: float
    p: float | None
    """Of the test that the change exceeds the margin; ``None`` for an exact fact."""
    families: int
    same: bool
    """The guard lies inside the margin."""
    changed: bool
    """The change exceeds the margin at 5 %, before any correction (a fact: exactly)."""


def paired_change(differences: ArrayLike, *, margin: float, error: float = 0.0) -> PairedChange:
    """Test whether a paired change exceeds a margin, and whether it stays inside.

    The null hypothesis is abs(change) <= margin. SAME needs the guard inside the margin, bent where
    the differences are skew. Differences that are all zero within the instrument's error are a fact
    of these prompts; others that agree are judged by what as many families can hide.

    Parameters
    ----------
    differences : array, (family,)
        Candidate minus base, one mean difference per family. Without any, or with one that is not
        a number, nothing can be said: p is 1.
    margin : float
        Smallest difference called a change; at least the numerical noise.
    error : float
        Numerical noise of one difference.
    """
    d = np.asarray(differences, dtype=float)
    if d.size == 0 or not np.isfinite(d).all():
        return PairedChange(np.nan, -np.inf, np.inf, margin, 1.0, d.size, False, False)
    value = float(d.mean())
    if np.abs(d).max() <= error:
        return exact_change(value, margin=margin, error=error, families=d.size)
    if d.size < 2:
        return PairedChange(value, -np.inf, np.inf, margin, 1.0, d.size, False, False)
    if discrete.spread(d) <= error:
        return _agreed(d, margin, error)
    return _tied(_from_limits(core.t_limits(d), margin, d.size), d)


def level_of_change(limits: core.Limits, margin: float) -> Floats:
    """P that a change exceeds a margin, of one or more studies; 1 where the value does not."""
    beyond = np.abs(limits.value) - margin
    distance = -np.sign(limits.value) * beyond
    return np.asarray(np.where(beyond > 0, core.smallest_level(limits, distance), 1.0))


def _from_limits(limits: core.Limits, margin: float, families: int) -> PairedChange:
    """Decide from the limits of one study."""
    value = float(limits.value)
    low, high = (float(end) for end in core.guard_ends(limits))
    p = float(level_of_change(limits, margin))
    same = -margin <= low and high <= margin
    return PairedChange(value, low, high, margin, p, families, same, p <= ALPHA)


def _tied(change: PairedChange, d: Floats) -> PairedChange:
    """Widen a change that few families show, and most do not or all alike (`mostly_tied`)."""
    tied = discrete.mostly_tied(d)
    if tied is None:
        return change
    low, high = tied.ends(core.GUARD.level)
    low, high = min(low, change.low), max(high, change.high)
    margin, p = change.margin, change.p
    bound = float(np.copysign(margin, change.value))
    p = max(p or 0.0, tied.guard_p(bound, 0.0, core.GUARD.level))
    same = -margin <= low and high <= margin
    return replace(change, low=low, high=high, p=p, same=same, changed=p <= ALPHA)


def _agreed(d: Floats, margin: float, error: float) -> PairedChange:
    """Decide from differences that are all alike and not zero."""
    value = float(d.mean())
    region = (
        Region(-margin, margin)
        if margin > 0
        else Region(0.0 if value > 0 else None, None if value > 0 else 0.0)
    )
    made = discrete.agreement(d, units=d.size, n=d.size, error=error, region=region)
    low, high = float(made.low or 0.0), float(made.high or 0.0)
    p = float(made.p or 0.0) if abs(value) > margin else 1.0
    same = margin > 0 and -margin <= low and high <= margin
    return PairedChange(value, low, high, margin, p, d.size, same, p <= ALPHA)


def exact_change(
    value: float, *, margin: float, error: float = 0.0, families: int = 0
) -> PairedChange:
    """Compare a fact without sampling: changed when it moved by more than margin or noise."""
    moved = abs(value) > max(margin, error)
    return PairedChange(
        value, value - error, value + error, margin, None, families, not moved, moved
    )


def unpaired_change(
    base: tuple[float, float, int], candidate: tuple[float, float, int], *, margin: float
) -> PairedChange:
    """Do the same from two estimates whose families cannot be paired (Welch).

    Parameters
    ----------
    base, candidate : tuple of (value, sd, families)
        Mean over families, spread between them and their number; how skew they are is not known.
    margin : float
        As for `paired_change`.
    """
    parts = [sd**2 / n for _, sd, n in (base, candidate)]
    total = sum(parts)
    value, families = candidate[0] - base[0], min(base[2], candidate[2])
    if total <= 0:
        return exact_change(value, margin=margin, families=families)
    df = total**2 / sum(
        part**2 / (n - 1) for part, (_, _, n) in zip(parts, (base, candidate), strict=True)
    )
    made, se = np.asarray(value), np.asarray(np.sqrt(total))
    limits = core.Limits(made, se, np.asarray(df), made, made)
    return _from_limits(limits, margin, families)
