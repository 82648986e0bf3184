"""What a null control says: whether the measurement tells the model from its control."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refutable.records import Estimate, Reading, Region
from refutable.stats.decide import ALPHA, interval, needed, sides, too_little


def reading(
    control: Estimate, contrast: Estimate, region: Region, *, sesoi: float | None = None
) -> tuple[Reading, str]:
    """Read a null control: whether the measurement tells the model from its control.

    Parameters
    ----------
    control : Estimate
        The quantity on the control.
    contrast : Estimate
        Model minus control, paired by family, two-way over control seeds and families.
    region : Region
        The predicted region.
    sesoi : float, optional
        Smallest effect of interest; 0 when not stated.

    Returns
    -------
    reading : Reading
        INFORMATIVE: the contrast lies beyond 0 (beyond the SESOI) on the predicted side.
        UNINFORMATIVE: the control satisfies the claim too, and the contrast is within the SESOI or
        goes the wrong way. UNDETERMINED otherwise.
    reason : str
    """
    for estimate in (contrast, control):
        reason = too_little(estimate)
        if reason:
            return Reading.UNDETERMINED, reason
    margin = abs(sesoi or 0.0)
    one_sided = (region.low is None) != (region.high is None)
    sign = -1.0 if one_sided and region.low is None else 1.0
    low, high = sorted(sign * end for end in needed(contrast))
    beyond = low > margin or (not one_sided and high < -margin)
    same = high < margin if one_sided else -margin < low and high < margin
    ends = needed(control)
    inside = float(sides(np.asarray(ends[0]), np.asarray(ends[1]), region)) > 0
    shown = f"model minus control {_shown(contrast)}"
    if beyond and not (inside and not one_sided):
        return Reading.INFORMATIVE, f"{shown} lies beyond {margin:g} on the predicted side"
    if same and inside:
        return (
            Reading.UNINFORMATIVE,
            f"the control lies in the region too, {_shown(control)}; {shown}",
        )
    return Reading.UNDETERMINED, f"{shown}, control {_shown(control)}"


def reading_by_rank(value: float, controls: Sequence[float], region: Region) -> tuple[Reading, str]:
    """Read the controls of a fact without sampling, by rank (1 + b) / (K + 1).

    b counts the controls that go at least as far in the predicted direction (for a two-sided
    region: lie at least as close to its middle).
    """
    score = _score(region)
    finite = [c for c in controls if np.isfinite(c)]
    if not finite or not np.isfinite(value):
        return Reading.UNDETERMINED, "no finite control"
    b = sum(score(c) >= score(value) for c in finite)
    rank = (1 + b) / (len(finite) + 1)
    shown = f"rank p {rank:.3g} among {len(finite)} controls"
    if rank <= ALPHA:
        return Reading.INFORMATIVE, shown
    inside = [float(sides(np.asarray(c), np.asarray(c), region)) > 0 for c in finite]
    if all(inside) and 2 * b >= len(finite):
        return Reading.UNINFORMATIVE, f"{shown}; every control lies in the region too"
    return Reading.UNDETERMINED, shown


def _score(region: Region) -> Callable[[float], float]:
    if region.low is not None and region.high is not None:
        middle = (region.low + region.high) / 2
        return lambda x: -abs(x - middle)
    sign = -1.0 if region.low is None else 1.0
    return lambda x: sign * x


def _shown(estimate: Estimate) -> str:
    ends = estimate.low, estimate.high
    return interval(*(np.nan if end is None else end for end in ends))
