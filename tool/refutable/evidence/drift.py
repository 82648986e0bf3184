"""How far an estimate has moved from the recorded one, within one verdict."""

from __future__ import annotations

from dataclasses import dataclass

from refutable.records import Estimate, Verdict

OF_VALUE = 1e-3
"""Share of an estimate by which it may differ on another platform."""
OF_INTERVAL = 1e-2
"""Share of an interval's half width by which estimate and ends may differ on another platform."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was found when it was accepted; of the first schema, the verdict alone."""

    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Values behind the estimate; ``None`` where no numbers were recorded."""
    error: float = 0.0
    """The instrument's measured error."""


def record_of(verdict: Verdict, estimate: Estimate | None) -> Recorded:
    """Return what is recorded of a finding."""
    if estimate is None:
        return Recorded(verdict)
    low, high = estimate.low, estimate.high
    return Recorded(verdict, estimate.value, low, high, estimate.n, estimate.error)


def drift(measured: Recorded, recorded: Recorded, *, anew: bool = False) -> str:
    """Say what of an estimate left the recorded one; empty where nothing did.

    Parameters
    ----------
    measured : Recorded
        What this run found.
    recorded : Recorded
        What the baseline holds.
    anew : bool
        Whether the run timed or trained something itself, which no run repeats: then the estimate
        may move by the half widths of both intervals, and the ends are not compared.

    Notes
    -----
    Allowed is the instrument's error of both runs, `OF_VALUE` of the recorded estimate and
    `OF_INTERVAL` of the recorded interval's half width. Whole numbers found without error, such as
    counts, must be equal; the ends of an interval around them are no counts.
    """
    if recorded.n is None or measured.n is None:
        return ""
    if measured.n != recorded.n:
        return f"n is {measured.n} where the baseline records {recorded.n}"
    allowed = _allowed(measured, recorded)
    names: tuple[str, ...] = ("value", "low", "high")
    if anew:
        allowed += _half_width(measured) + _half_width(recorded)
        names = names[:1]
    for name in names:
        new, old = getattr(measured, name), getattr(recorded, name)
        if new is None and old is None:
            continue
        counted = name == "value" and not anew and _are_counts(measured, recorded)
        within = 0.0 if counted else allowed
        if new is None or old is None or abs(new - old) > within:
            what = "the estimate" if name == "value" else f"the interval's {name} end"
            shown = ["none" if x is None else f"{x:+.4g}" for x in (new, old)]
            return (
                f"{what} is {shown[0]} where the baseline records {shown[1]} "
                f"(allowed: {within:.2g})"
            )
    return ""


def _allowed(measured: Recorded, recorded: Recorded) -> float:
    error = measured.error + recorded.error
    return error + OF_VALUE * abs(recorded.value or 0.0) + OF_INTERVAL * _half_width(recorded)


def _are_counts(measured: Recorded, recorded: Recorded) -> bool:
    numbers = (measured.value, recorded.value)
    whole = all(x is not None and float(x).is_integer() for x in numbers)
    return whole and not measured.error and not recorded.error


def _half_width(recorded: Recorded) -> float:
    if recorded.low is None or recorded.high is None:
        return 0.0
    return (recorded.high - recorded.low) / 2
