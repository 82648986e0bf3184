"""Findings: what each claim comes to over everything it was tried on, a claim counted once.

Cells (claims x models x arms) multiply with the models of a run; findings do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from refutable.records import Result
from refutable.report import tables

FINDINGS = ("confirmed", "refuted", "differs", "inconclusive", "error", "skipped")
"""What a claim comes to: ``differs`` is confirmed of one model and refuted of another."""

WORDS = {"error": "not measured", "skipped": "n/a"}
"""How states are headed where they are not their own word."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim and what its cells come to."""

    claim: str
    study: str
    state: str
    results: tuple[Result, ...]


def findings(results: Iterable[Result]) -> tuple[Finding, ...]:
    """Gather the results of each claim.

    Parameters
    ----------
    results : iterable of Result
        Of a run.

    Returns
    -------
    tuple of Finding
        In the order in which the claims come. A claim that was decided anywhere counts as decided
        so; only one confirmed here and refuted there ``differs``.
    """
    gathered: dict[str, list[Result]] = {}
    for result in results:
        gathered.setdefault(result.claim, []).append(result)
    return tuple(
        Finding(claim, cells[0].study, _state(cells), tuple(cells))
        for claim, cells in gathered.items()
    )


def _state(results: Iterable[Result]) -> str:
    states = {tables.state(result) for result in results}
    if {"confirmed", "refuted"} <= states:
        return "differs"
    order = ("confirmed", "refuted", "inconclusive", "undecided", "error", "skipped")
    first = next(state for state in order if state in states)
    return "inconclusive" if first == "undecided" else first


def by_study(findings: Iterable[Finding]) -> dict[str, Counter[str]]:
    """Count the findings of each study by state."""
    counts: dict[str, Counter[str]] = {}
    for finding in findings:
        counts.setdefault(finding.study, Counter())[finding.state] += 1
    return counts


def head(state: str) -> str:
    """Return the word for a state, e.g. ``n/a``."""
    return WORDS.get(state, state)
