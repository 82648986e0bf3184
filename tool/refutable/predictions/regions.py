"""Regions of predictions: made from bounds, and those of an equality."""

from __future__ import annotations

import numpy as np

from refutable.errors import ClaimError
from refutable.records import Region


def closed(region: Region) -> Region:
    """Make the ends of a region part of it: a tolerance itself still counts as equal."""
    low, high = region.low, region.high
    return Region(
        None if low is None else float(np.nextafter(low, -np.inf)),
        None if high is None else float(np.nextafter(high, np.inf)),
    )


def equality(region: Region, tolerance: float) -> str:
    """Word an equality: ``equal to 724 exactly``, ``equal to 1 to within 1e-06``."""
    assert region.low is not None  # noqa: S101  (an equality has both ends)
    margin = f" to within {tolerance:g}" if tolerance else " exactly"
    return f"equal to {region.low + tolerance:g}{margin}"


def check_bounds(low: float | None, high: float | None) -> Region:
    """Make a region, refusing an empty one."""
    for bound in (low, high):
        if bound is not None and not np.isfinite(bound):
            raise ClaimError(f"expected finite bounds, got {bound!r}")
    if low is not None and high is not None and low >= high:
        raise ClaimError(f"expected low < high, got low={low!r}, high={high!r}")
    return Region(None if low is None else float(low), None if high is None else float(high))
