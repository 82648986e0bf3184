"""Numbers, intervals and regions in words, as reasons, terminal, gate and report show them."""

from __future__ import annotations

import math

from refutable.records import Region

FIGURES = 3
"""Significant figures of a measured number, where its interval does not say how many to show."""
BOUND_FIGURES = 4
"""Significant figures of a number that a claim states."""


def number(
    value: float | None,
    *,
    figures: int = FIGURES,
    decimals: int | None = None,
    sign: bool = False,
) -> str:
    """Word a number, e.g. ``0.066``, ``-0.0512``, ``12,345`` or ``1.3e-9``.

    Parameters
    ----------
    value : float or None
        ``None``, NaN and infinity are ``n/a``.
    figures : int
        Significant figures; whole numbers of five digits or more are shown whole.
    decimals : int, optional
        Places after the point instead, as for numbers that stand beside each other.
    sign : bool
        Whether a plus is shown too, as for a difference.
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    whole, size = value == int(value), abs(value)
    plus = "+" if sign else ""
    if decimals is None:
        shown = f"{value:{plus},.0f}" if whole and size >= 1e4 else f"{value:{plus}.{figures}g}"
    elif (decimals > 7 and value != 0) or (size >= 1e9 and not whole):
        shown = f"{value:{plus}.4g}"
    else:
        shown = f"{value:{plus},.{max(decimals, 0)}f}"
    if float(shown.replace(",", "")) == 0:
        # A zero has no sign, whatever it was rounded from.
        shown = shown.lstrip("+-")
    return shown.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def ends(
    low: float | None,
    high: float | None,
    *,
    figures: int = FIGURES,
    decimals: int | None = None,
    sign: bool = False,
) -> str:
    """Word an interval, e.g. ``[-0.17, 0.07]``; an end that is ``None`` is infinite."""
    shown = [
        infinite if end is None else number(end, figures=figures, decimals=decimals, sign=sign)
        for end, infinite in ((low, "-∞"), (high, "∞"))
    ]
    return f"[{shown[0]}, {shown[1]}]"


def region(bounds: Region, unit: str = "") -> str:
    """Word a predicted region, e.g. ``below -0.02 log ratio`` or ``between 0.65 and 0.95``."""
    low, high = (number(end, figures=BOUND_FIGURES) for end in (bounds.low, bounds.high))
    if bounds.low is None and bounds.high is None:
        return "anywhere"
    if bounds.low is None:
        said = f"below {high}"
    elif bounds.high is None:
        said = f"above {low}"
    else:
        # What is decided of an equality has the neighbours of the stated value as its ends.
        alike = "equal to" if bounds.low == bounds.high else "around"
        said = f"{alike} {low}" if low == high else f"between {low} and {high}"
    return f"{said} {unit}".rstrip()


def typographic(text: str) -> str:
    """Set the minus of numbers as a minus, for pages that people read."""
    return text.replace("-", "−")
