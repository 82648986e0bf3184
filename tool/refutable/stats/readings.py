"""What a null control says: whether the measurement tells the model from its control."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refutable.records import Estimate, Reading, Region
from refutable.stats.decide import ALPHA, interval, needed, sides, too_little


def reading(
    control: Estimate,
    contrast: Estimate,
    region: Region,
    *,
    sesoi: float | None = None,
    single: bool = False,
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
    single : bool
        Whether the model is a single draw beside its copies, so that few more copies narrow it.

    Returns
    -------
    reading : Reading
        INFORMATIVE: the contrast lies beyond 0 (beyond the SESOI) on the predicted side.
        UNINFORMATIVE: the control satisfies the claim too, and the contrast is within the SESOI or
        goes the wrong way. UNDETERMINED otherwise.
    reason : str
        In one line; of an undetermined reading also why it is.
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
    if same or beyond:
        why = _beside(control, region, inside) if same else "the control lies in the region too"
    else:
        plain = sorted(sign * (end or 0.0) for end in (contrast.low, contrast.high))
        copies = _width(control) > _width(contrast) / 2
        why = _across(plain, margin, one_sided, "" if single else "copies" if copies else "seeds")
    return Reading.UNDETERMINED, f"{shown}, control {_shown(control)}: {why}"


def _beside(control: Estimate, region: Region, inside: bool) -> str:
    """Why a model that does not differ from its control says nothing on it: both fail the claim."""
    if inside:
        return "the two are told apart the wrong way"
    ends = needed(control)
    outside = float(sides(np.asarray(ends[0]), np.asarray(ends[1]), region)) < 0
    if outside:
        return "the control does not do what is claimed, and the model adds too little to it"
    return "the control reaches across the edge of the region"


def _width(estimate: Estimate) -> float:
    return (estimate.high or 0.0) - (estimate.low or 0.0)


def _across(plain: list[float], margin: float, one_sided: bool, short_of: str) -> str:
    """Why a contrast is neither beyond the smallest effect nor within it, and what it is short of.

    Empty where the model is a single draw; ``copies`` of the control where these make most of the
    interval, else ``seeds``.
    """
    low, high = plain
    guard = "at 95 %, but not by the wider guard that a verdict needs"
    if low > margin or (not one_sided and high < -margin):
        return f"beyond {margin:g} {guard}"
    if high < margin and (one_sided or low > -margin):
        return f"less than {margin:g} {guard}"
    said = f"it reaches across {margin:g}"
    if not short_of:
        return f"{said}; one model is one draw, as each copy is: more copies hardly narrow it"
    if short_of == "copies":
        return f"{said}; more copies of the control would narrow it"
    return f"{said}; the model's own seeds and prompts make most of it"


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
    if 1 / (len(finite) + 1) > ALPHA:
        return Reading.UNDETERMINED, f"{shown}: with so few none can be below {ALPHA:g}, 19 can"
    if rank <= ALPHA:
        return Reading.INFORMATIVE, shown
    inside = [float(sides(np.asarray(c), np.asarray(c), region)) > 0 for c in finite]
    if all(inside) and 2 * b >= len(finite):
        return Reading.UNINFORMATIVE, f"{shown}; every control lies in the region too"
    return Reading.UNDETERMINED, f"{shown}: {b} of them go at least as far as the model"


def _score(region: Region) -> Callable[[float], float]:
    if region.low is not None and region.high is not None:
        middle = (region.low + region.high) / 2
        return lambda x: -abs(x - middle)
    sign = -1.0 if region.low is None else 1.0
    return lambda x: sign * x


def _shown(estimate: Estimate) -> str:
    ends = estimate.low, estimate.high
    return interval(*(np.nan if end is None else end for end in ends))
