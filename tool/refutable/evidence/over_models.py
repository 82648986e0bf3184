"""What each claim comes to over several models: a list, and from five on a mean beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from refutable.records import ClaimReport, Estimate, OverModels, Result, Verdict
from refutable.stats.core import t_quantile
from refutable.stats.heterogeneity import random_effects
from refutable.system import wording

FEWEST = 5
"""Models from which on a claim is summed up."""
CHOSEN = "models were chosen, not drawn"

Key = tuple[str, str, str]
"""Claim, prompts and arm."""


def over_models(results: Iterable[Result]) -> list[str]:
    """Say of each claim on several models what it comes to: a list, for models are no sample."""
    lines = []
    for (claim, prompts, arm), cells in _by_cell(results).items():
        if len(cells) < 2:
            continue
        parts = []
        for verdict in Verdict:
            names = [r.model for r in cells if r.verdict is verdict]
            if names:
                parts.append(f"{verdict.value} on {', '.join(names)}")
        lines.append(f"{claim} ({prompts}, {arm}) over {len(cells)} models: {'; '.join(parts)}")
    return lines


def summed_up(
    results: Iterable[Result], claims: Mapping[str, ClaimReport]
) -> tuple[OverModels, ...]:
    """Return the random-effects mean of each claim on five models or more.

    Parameters
    ----------
    results : iterable of Result
        Of one run.
    claims : mapping of str to ClaimReport
        What was claimed, by id.
    """
    made = []
    for (claim, prompts, arm), cells in _by_cell(results).items():
        if not claims[claim].sampled:
            continue
        errors = {r.model: error for r in cells if (error := standard_error(r.estimate))}
        if len(errors) < FEWEST:
            continue
        used = [r for r in cells if r.model in errors]
        values = [r.estimate.value for r in used if r.estimate is not None]
        numbers = random_effects([v for v in values if v is not None], list(errors.values()))
        summary = OverModels(
            **asdict(numbers),
            claim=claim,
            prompts=prompts,
            arm=arm,
            models=tuple(errors),
            unit=claims[claim].unit,
            left_out=tuple(r.model for r in cells if r.model not in errors),
        )
        made.append(summary)
    return tuple(made)


def standard_error(estimate: Estimate | None) -> float | None:
    """Return the standard error behind a t interval; nothing where it is no such interval."""
    if estimate is None or estimate.value is None or not estimate.df:
        return None
    if estimate.low is None or estimate.high is None:
        return None
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    if abs(above - below) > 1e-6 * (above + below):
        # On another scale, such as Fisher z.
        return None
    half = (above + below) / 2 - estimate.error
    error = half / float(t_quantile(estimate.level, estimate.df))
    return error if error > 0 else None


def worded(summary: OverModels) -> str:
    """Word a summary in a line."""
    unit = f" {summary.unit}".rstrip()
    left = f"; without {', '.join(summary.left_out)}" if summary.left_out else ""
    return (
        f"{summary.claim} ({summary.prompts}, {summary.arm}): "
        f"mean over {len(summary.models)} models {wording.number(summary.value, sign=True)}{unit} "
        f"{wording.ends(summary.low, summary.high, sign=True)}, one more such model within "
        f"{wording.ends(summary.predicted_low, summary.predicted_high, sign=True)}, "
        f"I2 {summary.i2:.0%}{left} ({CHOSEN})"
    )


def _by_cell(results: Iterable[Result]) -> dict[Key, list[Result]]:
    cells: dict[Key, list[Result]] = {}
    for result in results:
        if result.verdict is not None and len(result.models) == 1:
            cells.setdefault((result.claim, result.prompts, result.arm), []).append(result)
    return cells
