"""The specification curve: estimates in order, and below what each of them was made with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from refutable.records import Estimate, Region, Verdict
from refutable.report.figures import style
from refutable.system import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA = "refutable.multiverse/1"
COLORS = {
    Verdict.CONFIRMED: style.BLUE,
    Verdict.REFUTED: style.VERMILION,
    Verdict.INCONCLUSIVE: style.MUTED,
}


class Spec(Protocol):
    """A specification, as `refutable.evaluation.multiverse` makes it."""

    @property
    def verdict(self) -> Verdict | None:
        """What came of it."""

    @property
    def estimate(self) -> Estimate | None:
        """What was measured."""

    def option(self, dimension: str) -> str:
        """Return what was chosen in a dimension."""


def draw_curve(
    specs: Sequence[Spec],
    specification: Spec,
    dimensions: Mapping[str, Sequence[str]],
    *,
    region: Region,
    unit: str,
) -> Figure:
    """Draw the estimates with their intervals, in order, above a grid of choices.

    Parameters
    ----------
    specs : sequence of Spec
        Those with a verdict.
    specification : Spec
        The claim's own, which is marked.
    dimensions : mapping of str to sequence of str
        Options of each dimension; one that has a single option is left out.
    region : Region
        The predicted one.
    unit : str
        Unit of the estimates.
    """
    from matplotlib.figure import Figure

    shown = sorted(
        (s for s in specs if s.estimate is not None and s.estimate.value is not None),
        key=lambda s: s.estimate.value if s.estimate and s.estimate.value is not None else 0.0,
    )
    rows = [(d, o) for d, options in dimensions.items() if len(options) > 1 for o in options]
    figure = Figure(figsize=(style.WIDTH, 3.2 + 0.2 * len(rows)), layout="constrained")
    heights = [3.0, max(0.2 * len(rows), 0.2)]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    for place, spec in enumerate(shown):
        _estimate(top, place, spec, stated=spec is specification)
    for bound in (region.low, region.high):
        if bound is not None:
            top.axhline(bound, color=style.INK, lw=1, ls="--")
    top.axhline(0, color=style.INK, lw=0.6, ls=":")
    top.set_ylabel(f"estimate ({unit})" if unit else "estimate")
    for height, (dimension, option) in enumerate(reversed(rows)):
        for place, spec in enumerate(shown):
            chosen = spec.option(dimension) == option
            color = COLORS[spec.verdict] if chosen and spec.verdict else "#dddddd"
            bottom.plot(place, height, "|", color=color, markersize=7, mew=2 if chosen else 0.6)
    bottom.set_yticks(
        range(len(rows)),
        [f"{dimension}: {option}" for dimension, option in reversed(rows)],
        fontsize=7,
    )
    bottom.set_xticks([])
    bottom.grid(visible=False)
    return figure


def _estimate(axis: Axes, place: int, spec: Spec, *, stated: bool) -> None:
    estimate, verdict = spec.estimate, spec.verdict
    if estimate is None or estimate.value is None or verdict is None:
        return
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    ends = style.whiskers(estimate.value, low, high)
    fmt, size, edge = ("D", 7, style.INK) if stated else ("o", 3, COLORS[verdict])
    axis.errorbar(
        place, estimate.value, yerr=ends, fmt=fmt, color=COLORS[verdict],
        markersize=size, lw=0.9, markeredgecolor=edge,
    )  # fmt: skip


def write_curve(record: Mapping[str, Any], figure: Figure, folder: Path) -> tuple[Path, Path]:
    """Write the record as JSON and the figure as PNG; return both paths."""
    text = json.dumps({"schema": SCHEMA, **_plain(record)}, indent=1, ensure_ascii=False) + "\n"
    paths = folder / "multiverse.json", folder / "multiverse.png"
    files.write(paths[0], text)
    with files.draft(paths[1]) as partial:
        figure.savefig(partial, format="png", dpi=160)
    return paths


def _plain(value: Any) -> Any:
    """Return records as JSON holds them, numbers that are none as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
