"""The first figure of every study: each of its claims against the bound that decides it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from refutable.records import ClaimReport, Estimate, Region, Result
from refutable.report import tables
from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, MissingDataError, Sample

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NAME = "forest"
TITLE = "Every claim of the study against its bound"
COLUMNS = ["ref", "label", "state", "value", "low", "high"]
LOOKS = {
    "confirmed": (style.BLUE, "o", "full"),
    "refuted": (style.VERMILION, "X", "full"),
    "inconclusive": (style.MUTED, "o", "none"),
}
"""Colour, marker and filling by verdict."""
LINEAR = 2.0
"""Distances up to which the axis is linear; it is logarithmic beyond."""
FEWEST, MOST = 2, 90
"""Rows from which a figure says more than one chart, and that fit on a page."""


def forest(sample: Sample) -> Drawing:
    """Lay out every decided or open claim of a study on one axis.

    Parameters
    ----------
    sample : Sample
        All of a study, whatever the prompts and the arm.

    Raises
    ------
    MissingDataError
        If fewer than two results have a value and a bound.
    """
    import pandas as pd

    claims = {claim.id: claim for claim in sample.evidence.claims}
    rows = [
        row
        for result in sorted(sample.results, key=lambda r: tables.numbering(claims, r.claim))
        if result.claim in claims
        for row in _row(result, claims[result.claim])
    ]
    if len(rows) < FEWEST:
        raise MissingDataError("fewer than two claims have a value and a bound")
    shown = pd.DataFrame(rows[:MOST], columns=COLUMNS)
    left = len(rows) - len(shown)
    models = list(dict.fromkeys(m for r in sample.results for m in (r.models or (r.model,))))
    return Drawing(
        shown,
        draw_forest,
        "Estimates with their 95 % intervals as distances from the nearest bound of what each "
        "claim predicts, in units of its smallest effect of interest (where it names none, of the "
        "bound itself): to the right of 0 is as claimed. Filled circles are confirmed, crosses "
        "refuted, hollow circles inconclusive; the axis is logarithmic beyond 2."
        + (f" {left} more are in the report." if left else ""),
        pd.DataFrame({"model": models, "prompt": None, "family": None}),
    )


def _row(result: Result, claim: ClaimReport) -> Iterator[tuple[object, ...]]:
    estimate, state = result.estimate, tables.state(result)
    if estimate is None or estimate.value is None or state not in LOOKS:
        return
    scale = _scale(claim, estimate)
    ends = [estimate.value if end is None else end for end in (estimate.low, estimate.high)]
    depths = [depth(x, claim.region) for x in (estimate.value, *ends)]
    if any(x is None for x in depths):
        return
    value, low, high = (float(x) / scale for x in depths if x is not None)
    arm = " bos" if result.arm == "bos" else ""
    name = claim.id.partition(".")[2] or claim.id
    label = f"{claim.ref} {name} · {result.model}{arm}"
    yield claim.ref, label, state, value, min(value, low, high), max(value, low, high)


def depth(x: float, region: Region) -> float | None:
    """Distance of a value into a region, negative outside; ``None`` where it has no bound."""
    inside = [] if region.low is None else [x - region.low]
    inside += [] if region.high is None else [region.high - x]
    return min(inside, default=None)


def _scale(claim: ClaimReport, estimate: Estimate) -> float:
    bounds = [abs(b) for b in (claim.region.low, claim.region.high) if b]
    return claim.sesoi or max(bounds, default=0.0) or abs(estimate.value or 0.0) or 1.0


def draw_forest(table: pd.DataFrame) -> Figure:
    """Draw a row for each result, the first on top."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    fig = Canvas(figsize=(style.WIDTH, 0.9 + 0.155 * len(table)), layout="constrained")
    axis = fig.subplots()
    heights = np.arange(len(table))
    for state, (color, marker, fill) in LOOKS.items():
        in_state = (table["state"] == state).to_numpy()
        x = table["value"].to_numpy()[in_state]
        ends = np.array(
            [x - table["low"].to_numpy()[in_state], table["high"].to_numpy()[in_state] - x]
        )
        axis.errorbar(x, heights[in_state], xerr=ends, fmt=marker, color=color, markersize=4.2,
                      fillstyle=fill, elinewidth=1.1, lw=0)  # fmt: skip
    axis.axvline(0, color=style.INK, lw=1)
    axis.axvspan(0, 1e9, color=style.GRID, alpha=0.35, lw=0)
    axis.set_xscale("symlog", linthresh=LINEAR, linscale=1.2)
    reach = 1.15 * max(1.0, float(np.abs(table[["low", "high"]].to_numpy()).max()))
    axis.set_xlim(-reach, reach)
    ticks = [t for t in (1, 2, 10, 100, 1000, 1e4, 1e5, 1e6) if t < reach]
    axis.set_xticks([-t for t in reversed(ticks)] + [0] + ticks)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}".replace("-", "\N{MINUS SIGN}"))
    axis.minorticks_off()
    axis.set_yticks(heights, [_short(label) for label in table["label"]], fontsize=6.2)
    axis.set_ylim(len(table) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("distance from the bound, in effects of interest")
    handles = [
        Line2D([], [], color=c, marker=m, fillstyle=f, lw=0, markersize=4.5, label=state)  # type: ignore[arg-type]
        for state, (c, m, f) in LOOKS.items()
        if state in set(table["state"])
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=7.5)
    return fig


def _short(label: str) -> str:
    return label if len(label) <= 66 else label[:65] + "…"
