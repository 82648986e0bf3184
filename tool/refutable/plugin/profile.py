"""The table of ``--claim-profile``: what each part of measuring took, in processor time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from refutable.records import MeasuringCost, ModelReport

if TYPE_CHECKING:
    import pytest

_LEAST = 0.005
"""Share of a model's time below which parts are told as one."""


def write_profile(reporter: pytest.TerminalReporter, models: Iterable[ModelReport]) -> None:
    """Print a table for each model of which something was measured in this run."""
    for model in models:
        if model.costs:
            reporter.write_sep("-", f"what measuring {model.id} took")
            for line in profile_lines(model.costs):
                reporter.write_line(line)


def profile_lines(costs: Iterable[MeasuringCost]) -> list[str]:
    """Return the lines of one model's table, the dearest part first.

    Parameters
    ----------
    costs : iterable of MeasuringCost
        As they were noted; the copies of a control make one line.
    """
    costs = list(costs)
    whole = sum(cost.seconds for cost in costs)
    parts: dict[tuple[str, str, str, str], list[MeasuringCost]] = defaultdict(list)
    for cost in costs:
        role = cost.role.rpartition("-")[0] or cost.role or "model"
        parts[cost.what, role, cost.prompts, cost.arm].append(cost)
    lines, rest = [f"{'processor s':>11}  {'in model':>8}  part"], 0.0
    for (what, role, prompts, arm), entries in sorted(
        parts.items(), key=lambda part: -sum(cost.seconds for cost in part[1])
    ):
        seconds = sum(cost.seconds for cost in entries)
        if seconds < _LEAST * whole:
            rest += seconds
            continue
        copies = f"{role} x {len(entries)}" if len(entries) > 1 else role
        where = f" on {prompts}, {arm}" if prompts else ""
        lines.append(f"{seconds:11.1f}  {_share(entries):>8}  {what} ({copies}{where})")
    if rest:
        lines.append(f"{rest:11.1f}  {'':>8}  parts below {100 * _LEAST:g} % each")
    lines.append(f"{whole:11.1f}  {_share(costs):>8}  in all")
    return lines


def _share(costs: Iterable[MeasuringCost]) -> str:
    """Share of processor time in the model's own passes; empty where it is not known."""
    costs = list(costs)
    seconds = sum(cost.seconds for cost in costs)
    if seconds <= 0 or any(cost.in_model is None for cost in costs):
        return ""
    return f"{100 * sum(cost.in_model or 0.0 for cost in costs) / seconds:.0f} %"
