"""How a claim was refuted, read off the same interval, so that it costs no further error."""

from __future__ import annotations

from refutable.records import Estimate, How, Region
from refutable.stats.decide import needed


def how_refuted(
    estimate: Estimate, region: Region, *, sesoi: float | None = None, by_example: bool = False
) -> How:
    """Say what an interval outside the predicted region shows instead.

    All of it is one statement about where the value lies (the interval and its guard), so that
    naming it is no further test.

    Parameters
    ----------
    estimate : Estimate
        Of a refuted claim.
    region : Region
        The predicted region.
    sesoi : float, optional
        Smallest effect of interest; the bound's distance from 0 where none is stated.
    by_example : bool
        Whether one case among many refuted it.

    Returns
    -------
    How
        ``counterexample``; for a region that lies on one side of 0 (above b >= 0 or below b <= 0):
        ``negligible`` inside plus and minus the smallest effect, ``opposite`` beyond 0 on the other
        side, else ``smaller`` than asked; ``not as stated`` for any other region.
    """
    if by_example:
        return How.COUNTEREXAMPLE
    above = region.high is None and region.low is not None and region.low >= 0
    below = region.low is None and region.high is not None and region.high <= 0
    if not (above or below):
        return How.NOT_AS_STATED
    bound = region.low if above else region.high
    low, high = needed(estimate)
    least = abs(sesoi if sesoi is not None else bound or 0.0)
    if -least < low and high < least:
        return How.NEGLIGIBLE
    if (high < 0) if above else (low > 0):
        return How.OPPOSITE
    return How.SMALLER
