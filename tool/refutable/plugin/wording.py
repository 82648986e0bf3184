"""Verdicts, cells and their details as words of a terminal, shared by the screen and by -v."""

from __future__ import annotations

from collections.abc import Mapping

from refutable.evidence.registry import worded
from refutable.records import ClaimReport, Estimate, Result, Verdict
from refutable.report.reasons import why_open
from refutable.system import wording

Piece = tuple[str, Mapping[str, bool]]
"""A text and how pytest's terminal marks it, e.g. ``{"red": True}``."""

VERDICT_WIDTH = 14
"""Columns of a verdict, its mark and the space after."""

_STYLE: dict[Verdict, dict[str, bool]] = {
    Verdict.CONFIRMED: {"green": True},
    # A refutation is a result, not a fault: red is kept for what failed.
    Verdict.REFUTED: {"cyan": True},
    Verdict.INCONCLUSIVE: {"yellow": True},
}


def style_of(result: Result) -> Mapping[str, bool]:
    """How a verdict is marked; what could not be measured is red."""
    return {"red": True} if result.verdict is None else _STYLE[result.verdict]


def verdict(result: Result) -> str:
    """Word a verdict, with a star where it would not survive Holm's adjustment."""
    word = "ERROR" if result.verdict is None else result.verdict.value.upper()
    return word + ("*" if result.survives_holm is False else "")


def cell_name(result: Result) -> str:
    """Name a claim and what it was tried on."""
    return f"{result.claim}  {result.model}  {result.arm}".rstrip()


def interval(estimate: Estimate | None) -> str:
    """Word an estimate, e.g. ``-0.051 [-0.17, +0.07] n 25/5``; exact numbers have no interval."""
    if estimate is None:
        return ""
    text = wording.number(estimate.value, sign=True)
    low, high = estimate.low, estimate.high
    if low is not None and high is not None and low != high:
        text += f" {wording.ends(low, high, sign=True)}"
    if estimate.unit:
        text += f" {estimate.unit}"
    units = [str(estimate.n)] + [str(k) for k in (estimate.clusters, estimate.seeds) if k]
    return f"{text} n {'/'.join(units)}"


def details(result: Result, claim: ClaimReport | None, message: str = "") -> str:
    """Say what is known of a result beside its verdict.

    Parameters
    ----------
    result : Result
        With a verdict, or with the reason why there is none.
    claim : ClaimReport or None
        What was claimed; without it an open result does not say why.
    message : str
        What the comparison with the baseline said, where a reader should see it.
    """
    if result.verdict is None:
        return result.reason
    parts = [message, interval(result.estimate)]
    parts.append(str(result.how) if result.how is not None else "")
    if claim is not None and result.verdict is Verdict.INCONCLUSIVE:
        parts.append(why_open(result, claim)[1])
    if result.control is not None and result.control.reading is not None:
        parts.append(f"control {result.control.reading.value}")
    if not message:
        parts.append(recorded(result))
    if result.registration is not None and result.registration.changed:
        parts.append(worded(result.registration))
    return "; ".join(part for part in parts if part)


def recorded(result: Result) -> str:
    """Say how a verdict stands to the recorded one."""
    if result.expected is None:
        return "nothing recorded"
    if result.expected is not result.verdict:
        return f"recorded {result.expected.value.upper()}"
    return "as recorded"
