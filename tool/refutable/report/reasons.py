"""Why a result is open, in a few words: what stands beside INCONCLUSIVE in a line."""

from __future__ import annotations

from refutable.records import ClaimReport, Estimate, Region, Result, Verdict
from refutable.stats.build import FACTS
from refutable.stats.decide import FEWEST_FAMILIES, FEWEST_SEEDS
from refutable.system import wording

SKEWED = 3.0
"""How many times farther the guard must reach beyond one end of an interval than beyond the other
for the line to speak of skew."""


OF_KIND = {
    "rank": "not told from the copies",
    "each_seed": "examples cannot confirm",
    "every": "a search cannot confirm",
}
"""Why predictions of some kinds are open, where nothing is wrong with the estimate."""


def why_open(result: Result, claim: ClaimReport) -> tuple[str, str]:
    """Say why a result decides nothing.

    Parameters
    ----------
    result : Result
        One whose verdict is INCONCLUSIVE.
    claim : ClaimReport
        What was claimed.

    Returns
    -------
    kind : str
        A word or two, the same for all results that are open for the same reason: to be counted.
    shown : str
        The same with the numbers, e.g. ``interval crosses -0.02`` or ``3 families of 5 needed``;
        empty for any other verdict.
    """
    if result.verdict is not Verdict.INCONCLUSIVE:
        return "", ""
    estimate = result.estimate
    if estimate is None or estimate.value is None:
        reason = (estimate.note if estimate is not None else "") or result.reason or "no value"
        return "no value", reason
    few_or_edges = _few(estimate) or _edges(estimate, claim.region)
    return few_or_edges or (OF_KIND.get(claim.prediction.kind, "other"), result.reason)


def _few(estimate: Estimate) -> tuple[str, str] | None:
    if 0 < estimate.seeds < FEWEST_SEEDS:
        return (
            "too few seeds",
            f"{_count(estimate.seeds, 'seed', 'seeds')} of {FEWEST_SEEDS} needed",
        )
    if estimate.method in FACTS or estimate.clusters == 0:
        return None
    if estimate.clusters < FEWEST_FAMILIES:
        shown = _count(estimate.clusters, "family", "families")
        return "too few families", f"{shown} of {FEWEST_FAMILIES} needed"
    if estimate.low is None or estimate.high is None:
        return "no interval", "the interval is unbounded"
    return None


def _edges(estimate: Estimate, region: Region) -> tuple[str, str] | None:
    """Name the bound that the interval, or the guard around it, reaches across.

    Of a claim in parts the part that left it open is the estimate of the result.
    """
    if estimate.low is None or estimate.high is None:
        return None
    part = f"{estimate.part}: " if estimate.part else ""
    bound = _crossed(estimate.low, estimate.high, region)
    if bound is not None:
        return "interval crosses the bound", f"{part}interval crosses {_bound(bound)}"
    if estimate.check_low is None or estimate.check_high is None:
        return None
    bound = _crossed(estimate.check_low, estimate.check_high, region)
    if bound is None:
        return None
    ends = wording.ends(estimate.check_low, estimate.check_high, figures=wording.BOUND_FIGURES)
    if _skewed(estimate):
        return "guard crosses (skew)", f"{part}skew data: guard {ends} crosses {_bound(bound)}"
    return "guard crosses the bound", f"{part}guard {ends} crosses {_bound(bound)}"


def _crossed(low: float, high: float, region: Region) -> float | None:
    bounds = (bound for bound in (region.low, region.high) if bound is not None)
    return next((bound for bound in bounds if low <= bound <= high), None)


def _skewed(estimate: Estimate) -> bool:
    if estimate.check_low is None or estimate.check_high is None:
        return False
    below = abs((estimate.low or 0.0) - estimate.check_low)
    above = abs(estimate.check_high - (estimate.high or 0.0))
    return max(below, above) > SKEWED * min(below, above)


def _bound(bound: float) -> str:
    return wording.number(bound, figures=wording.BOUND_FIGURES)


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
