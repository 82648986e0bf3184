"""The only place where a `Verdict` is made: an interval against a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refutable.records import Decision, Estimate, Region, Verdict
from refutable.stats.build import FACTS
from refutable.stats.core import Floats
from refutable.stats.power import exact_interval, violation_bound
from refutable.system import wording

FEWEST_FAMILIES = 5
FEWEST_SEEDS = 5
ALPHA = 0.05


def sides(low: Floats, high: Floats, region: Region) -> Floats:
    """Where intervals lie: 1 wholly inside the region, -1 wholly outside, 0 neither.

    The region is open; an interval that touches a bound is on neither side.
    """
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    inside = np.ones(low.shape, dtype=bool)
    outside = np.zeros(low.shape, dtype=bool)
    if region.low is not None:
        inside &= low > region.low
        outside |= high < region.low
    if region.high is not None:
        inside &= high < region.high
        outside |= low > region.high
    return np.asarray(inside.astype(float) - outside)


def agreed(low: Floats, high: Floats, check: tuple[Floats, Floats], region: Region) -> Floats:
    """Sides of intervals that the check beside them confirms, 0 where the two differ."""
    first = sides(low, high, region)
    return np.where(sides(*check, region) == first, first, 0.0)


def decide(estimate: Estimate, region: Region, *, sampled: bool = True) -> Decision:
    """Compare an estimate's interval with the predicted region.

    Parameters
    ----------
    estimate : Estimate
        With its two-sided interval, already widened by the instrument's error.
    region : Region
        The predicted (open) region.
    sampled : bool
        False for facts of one checkpoint, whose reason is worded so.

    Returns
    -------
    Decision
        CONFIRMED wholly inside, REFUTED wholly outside, INCONCLUSIVE otherwise: also with fewer
        than five families (or five seeds, where seeds are units), without a finite value, and
        where the guard beside the interval (`refutable.stats.core.guard_ends`) reaches across.
    """
    reason = too_little(estimate)
    if reason:
        return Decision(Verdict.INCONCLUSIVE, reason)
    assert estimate.low is not None  # noqa: S101
    assert estimate.high is not None  # noqa: S101
    side = float(sides(np.asarray(estimate.low), np.asarray(estimate.high), region))
    what = f"{interval(estimate.low, estimate.high)}"
    if estimate.method in FACTS:
        return _fact(side, what, region, sampled)
    if side != 0 and estimate.check_low is not None and estimate.check_high is not None:
        check = np.asarray(estimate.check_low), np.asarray(estimate.check_high)
        if float(sides(*check, region)) != side:
            beside = interval(estimate.check_low, estimate.check_high)
            return Decision(
                Verdict.INCONCLUSIVE,
                f"{what} lies {'inside' if side > 0 else 'outside'} {within(region)}, but the "
                f"guard that a verdict needs, {beside}, reaches across its edge",
            )
    if side > 0:
        return Decision(Verdict.CONFIRMED, f"{what} lies inside {within(region)}")
    if side < 0:
        return Decision(Verdict.REFUTED, f"{what} lies outside {within(region)}")
    return Decision(Verdict.INCONCLUSIVE, f"{what} reaches across the edge of {within(region)}")


def settle(
    estimate: Estimate, region: Region, *, sampled: bool = True
) -> tuple[Estimate, Decision]:
    """Decide, and drop p where no verdict could be made at any level (too little data)."""
    decision = decide(estimate, region, sampled=sampled)
    few = decision.verdict is Verdict.INCONCLUSIVE and too_little(estimate) is not None
    return (replace(estimate, p=None) if few else estimate), decision


def combine(
    parts: Sequence[tuple[Estimate, Decision]],
    *,
    agree: bool = False,
    region: Region | None = None,
) -> tuple[Estimate, Decision]:
    """Decide a claim whose parts must all hold.

    CONFIRMED when every part is; p is then the largest of the parts. REFUTED when one part is,
    at a level divided by the number of parts (Bonferroni), so that many parts do not make a false
    refutation likelier. With `agree` the parts are views of one quantity and must all say the
    same.

    Parameters
    ----------
    parts : sequence of (Estimate, Decision)
        The parts, each decided.
    agree : bool
        Whether a refutation also needs every part.
    region : Region, optional
        The predicted one; facts have no p, and the one nearest to its bound (or farthest outside)
        settles it.

    Returns
    -------
    estimate : Estimate
        The part that settled it, with p of the whole.
    decision : Decision
    """
    verdicts = [d.verdict for _, d in parts]
    if all(v is Verdict.CONFIRMED for v in verdicts):
        estimate, decision = min(parts, key=lambda part: _standing(part[0], region))
        return estimate, Decision(Verdict.CONFIRMED, _named(estimate, decision.reason))
    refuted = [part for part in parts if part[1].verdict is Verdict.REFUTED]
    if agree and len(refuted) == len(parts):
        estimate, decision = max(refuted, key=lambda part: part[0].p or 0.0)
        return estimate, Decision(Verdict.REFUTED, _named(estimate, decision.reason))
    if refuted and not agree:
        estimate, decision = max(refuted, key=lambda part: _against(part[0], region))
        p = None if estimate.p is None else min(1.0, estimate.p * len(parts))
        estimate = replace(estimate, p=p)
        if p is None or p <= ALPHA:
            return estimate, Decision(Verdict.REFUTED, _named(estimate, decision.reason))
        return estimate, Decision(
            Verdict.INCONCLUSIVE,
            f"{estimate.part} alone would be refuted, but not as one of {len(parts)} parts",
        )
    open_parts = [part for part in parts if part[1].verdict is Verdict.INCONCLUSIVE]
    estimate, decision = max(open_parts or refuted, key=lambda part: part[0].p or 1.0)
    reason = decision.reason if open_parts else "the parts disagree: " + decision.reason
    return estimate, Decision(Verdict.INCONCLUSIVE, _named(estimate, reason))


def _standing(estimate: Estimate, region: Region | None) -> tuple[float, float]:
    """How well a part that holds stands: by its p, and for facts by its distance from a bound."""
    return -(estimate.p or 0.0), _depth(estimate, region)


def _against(estimate: Estimate, region: Region | None) -> tuple[float, float]:
    """How clearly a part that does not hold speaks against the claim."""
    return -(estimate.p or 0.0), -_depth(estimate, region)


def _depth(estimate: Estimate, region: Region | None) -> float:
    """Distance of a value from the nearest bound of a region, negative outside."""
    if region is None or estimate.value is None:
        return 0.0
    depths = [] if region.low is None else [estimate.value - region.low]
    depths += [] if region.high is None else [region.high - estimate.value]
    return min(depths, default=0.0)


def universal(worst: float | None, bound: float, n: int, *, bad: int = 0) -> Decision:
    """Decide a universal claim from a search; a search can only refute.

    Parameters
    ----------
    worst : float or None
        Largest violation among the candidates (distance beyond the region), ``None`` for none.
    bound : float
        What a violation must exceed to be a counterexample.
    n : int
        Candidates looked at.
    bad : int
        Candidates without a finite value.
    """
    if bad:
        return Decision(Verdict.INCONCLUSIVE, f"{bad} of {n} values are NaN or infinite")
    if n == 0:
        return Decision(Verdict.INCONCLUSIVE, "no candidates")
    if worst is not None and worst > bound:
        return Decision(
            Verdict.REFUTED,
            f"a counterexample lies {wording.number(worst)} beyond the region (of {n} candidates)",
        )
    return Decision(
        Verdict.INCONCLUSIVE,
        f"{n} candidates, none found that violates by more than {bound:.2g} "
        "(a search cannot confirm)",
    )


def certified(violations: int, n: int, *, share: float, region: Region | None = None) -> Decision:
    """Decide "violated in less than `share` of the draws" from a fresh sample of fixed size.

    Parameters
    ----------
    violations : int
        Counterexamples among the draws.
    n : int
        Independent draws from a named, frozen generator, fixed beforehand.
    share : float
        The tolerated share of violations, stated beforehand.
    region : Region, optional
        The universal claim's region, for the wording.
    """
    if violations:
        low, high = exact_interval(violations, n)
        between = f"{low:.2%} to {high:.2%} of all, exact 95 % interval"
        said = f"{violations} of {n} independent draws violate it ({between})"
        return Decision(Verdict.REFUTED, said)
    limit = violation_bound(n)
    what = f"no violation in {n} independent draws: at most {limit:.2%} violate {within(region)}"
    verdict = Verdict.CONFIRMED if limit <= share else Verdict.INCONCLUSIVE
    return Decision(verdict, f"{what} (95 %); tolerated {share:.2%}")


def needed(estimate: Estimate) -> tuple[float, float]:
    """Ends of all that a statement about an estimate must hold for: its interval and its guard."""
    lows = [end for end in (estimate.low, estimate.check_low) if end is not None]
    highs = [end for end in (estimate.high, estimate.check_high) if end is not None]
    return min(lows, default=-np.inf), max(highs, default=np.inf)


def within(region: Region | None) -> str:
    """Word a region in a sentence: ``the region between 0.65 and 0.95``."""
    if region is None or (region.low is None and region.high is None):
        return "the region"
    return f"the region {wording.region(region)}"


def too_little(estimate: Estimate) -> str | None:
    """Say why an estimate can decide nothing, or ``None`` where it can."""
    if estimate.value is None:
        return estimate.note or "no value"
    if 0 < estimate.seeds < FEWEST_SEEDS:
        return f"{estimate.seeds} seeds; a verdict needs {FEWEST_SEEDS} or more"
    if estimate.method in FACTS:
        return None
    if estimate.clusters < FEWEST_FAMILIES:
        return f"{estimate.clusters} prompt families; a verdict needs {FEWEST_FAMILIES} or more"
    if estimate.low is None or estimate.high is None:
        return "the interval is unbounded"
    return None


def _fact(side: float, what: str, region: Region, sampled: bool) -> Decision:
    if side == 0:
        return Decision(Verdict.INCONCLUSIVE, f"{what} lies on the edge of {within(region)}")
    verdict = Verdict.CONFIRMED if side > 0 else Verdict.REFUTED
    place = "inside" if side > 0 else "outside"
    if sampled:
        return Decision(verdict, f"the same for every prompt: {what} lies {place} {within(region)}")
    holds = "holds" if side > 0 else "does not hold"
    return Decision(verdict, f"{holds} for this checkpoint: {what} lies {place} {within(region)}")


def interval(low: float, high: float) -> str:
    """Word an interval."""
    return wording.ends(low, high, figures=wording.BOUND_FIGURES)


def _named(estimate: Estimate, reason: str) -> str:
    return f"{estimate.part}: {reason}" if estimate.part else reason
