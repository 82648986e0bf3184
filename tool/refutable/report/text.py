"""Texts and numbers as reports print them: hostile text stays text, nothing is rounded away.

A prompt, token or model name may hold tags, control characters or direction marks, and may be very
long. `visible` names what cannot be seen and shortens; escaping for HTML or Markdown comes after.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

from refutable.records import Estimate, Region
from refutable.system import wording

LIMIT = 320
"""Characters of one text that a report prints; the full length is said beside it."""

_NAMED = {"\n": "↵", "\t": "⇥", "\r": "␍"}
_HIDDEN_KINDS = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Cn")
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")
"""What could begin markup; brackets and the like mean nothing once square ones are text."""


def visible(text: str, limit: int = LIMIT) -> str:
    """Name what cannot be seen, and shorten.

    Parameters
    ----------
    text : str
        Any text.
    limit : int
        Characters to keep.

    Returns
    -------
    str
        Control characters, direction marks, zero-width characters and the like as ``‹U+202E›``,
        line breaks as ``↵``, tabs as ``⇥``; past the limit an ellipsis and the full length.
    """
    kept = text[:limit]
    shown = "".join(_named(character) for character in kept)
    if len(text) > limit:
        shown += f"… [{len(text):,} characters in all]"
    return shown


def _named(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    hidden = unicodedata.category(character) in _HIDDEN_KINDS
    return f"‹U+{ord(character):04X}›" if hidden else character


def markdown(text: str, limit: int = LIMIT) -> str:
    """Return a text as it is, for Markdown: no markup, no table break, no link, no mention."""
    shown = visible(text, limit)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKDOWN.sub(r"\\\1", shown)
    return shown.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number with a true minus sign; three significant digits unless told otherwise."""
    if value is None or not math.isfinite(value):
        return "–"
    return wording.typographic(wording.number(value, decimals=decimals))


def _decimals(size: float, digits: int) -> int:
    """Decimals that show so many significant digits of a size."""
    if size == 0 or not math.isfinite(size):
        return digits - 1
    return digits - 1 - math.floor(math.log10(size))


def decimals_of(estimate: Estimate, region: Region | None = None) -> int | None:
    """Decimals at which an estimate is printed: two digits of its half-width, or of its value.

    More where rounding would move an end of the interval onto or across a bound of the region or
    zero: nothing is rounded into significance.
    """
    numbers = [x for x in (estimate.value, estimate.low, estimate.high) if x is not None]
    if not numbers:
        return None
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        start = _decimals(max(map(abs, numbers)), digits=4)
    else:
        half, size = (estimate.high - estimate.low) / 2, abs(estimate.value or 0.0)
        start = _decimals(half, digits=2)
        if size > half / 10:
            start = max(start, min(start + 1, _decimals(size, digits=2)))
    bounds = [0.0]
    if region is not None:
        bounds += [x for x in (region.low, region.high) if x is not None]
    start = min(max(start, 0), 10)
    for decimals in range(start, start + 7):
        if all(_same_side(x, round(x, decimals), b) for x in numbers for b in bounds):
            return decimals
    return start + 6


def _same_side(exact: float, rounded: float, bound: float) -> bool:
    return (exact > bound) == (rounded > bound) and (exact < bound) == (rounded < bound)


def interval(estimate: Estimate | None, region: Region | None = None) -> tuple[str, str]:
    """Return the value and the interval of an estimate, e.g. ``("−0.052", "[−0.17, 0.07]")``."""
    if estimate is None or estimate.value is None:
        return "–", ""
    decimals = decimals_of(estimate, region)
    value = number(estimate.value, decimals)
    if estimate.low == estimate.high:
        # No interval was made, or an exact number such as a count.
        return value, ""
    ends = wording.ends(estimate.low, estimate.high, decimals=decimals)
    return value, wording.typographic(ends)


def probability(p: float | None) -> str:
    """Return ``p = 0.031``; never 0."""
    if p is None:
        return ""
    if p < 1e-4:
        return "p < 0.0001"
    return f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def region(bounds: Region, unit: str = "") -> str:
    """Return a predicted region in words, e.g. ``below −0.02 log ratio``."""
    return f"{wording.typographic(wording.region(bounds))} {unit}".rstrip()


def count(n: int, noun: str, plural: str = "") -> str:
    """Return ``1 family``, ``5 families``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def listed(items: Iterable[str], most: int = 8) -> str:
    """Join names with commas; past `most` say how many more there are."""
    names = list(items)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
