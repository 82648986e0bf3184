"""The loss around each variant's weights: curves along directions, and planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.norm_ablation.figures.data import STUDY, facts, first_seeds, look, titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SQUARES = {1: (5.4, 4.7), 2: (style.WIDTH, 3.6), 3: (style.WIDTH, 2.7)}
"""Inches of a figure of one to three square panels and their scale."""
DIRECTION = (
    "A direction is normal noise, each filter scaled to the norm of the model's own, so that a "
    "step of .2 changes every filter by a fifth of itself; norms and biases stay."
)


@figure(study=STUDY, name="landscape-curves", title="Loss along random directions")
def landscape_curves(sample: Sample) -> Drawing:
    """Rise of the loss along each direction, one panel for each variant."""
    rows = first_seeds(facts(sample, "landscape_curve", "direction", "step"))
    table = rows[["variant", "direction", "step", "value"]].astype({"step": float})
    return Drawing(
        table,
        _draw_curves,
        f"Rise of the loss on held-out prose, one thin line for each direction, their mean thick. "
        f"{DIRECTION} The variants of a seed share the directions' noise.",
        rows,
    )


def _draw_curves(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("variant", sort=False))
    present = [str(name) for name, _ in groups]
    fig, axes = style.panels(len(groups), columns=4, height=2.2)
    for place, (axis, (variant, part)) in enumerate(zip(axes, groups, strict=True)):
        color, _ = look(str(variant), present)
        for _, line in part.groupby("direction", sort=False):
            axis.plot(line["step"], line["value"], color=color, lw=0.8, alpha=0.7)
        middle = part.groupby("step")["value"].mean()
        axis.plot(middle.index, middle, color=color, lw=2)
        axis.set_title(titled(str(variant)), fontsize=8)
        axis.set_xlabel("step (share of a filter's norm)")
        if place % 4 == 0:
            axis.set_ylabel("rise of the loss (nats)")
    return fig


@figure(study=STUDY, name="landscape-surface", title="Loss on a plane of two random directions")
def landscape_surface(sample: Sample) -> Drawing:
    """Heat map of the rise of the loss, one panel for each variant, on one colour scale."""
    rows = first_seeds(facts(sample, "landscape_surface", "first", "second"))
    table = rows[["variant", "first", "second", "value"]]
    return Drawing(
        table.astype({"first": float, "second": float}),
        _draw_surface,
        f"Rise of the loss on held-out prose in nats, on one colour scale. {DIRECTION}",
        rows,
    )


def _draw_surface(table: pd.DataFrame) -> Figure:
    from matplotlib.ticker import MaxNLocator

    groups = list(table.groupby("variant", sort=False))
    fig, axes = style.panels(len(groups), columns=4, height=2.1)
    # Squares: fewer than four panels make the canvas as tall as they are wide.
    if len(groups) < 4:
        fig.set_size_inches(*SQUARES[len(groups)])
    least, most = float(table["value"].min()), float(table["value"].max())
    # The lowest band reaches down to the lowest value, which may lie a little below the middle.
    levels = [min(least, 0.0), *(x for x in MaxNLocator(12).tick_values(0, most) if x > 0)]
    image = None
    for place, (axis, (variant, part)) in enumerate(zip(axes, groups, strict=True)):
        grid = part.pivot_table(index="first", columns="second", values="value")
        image = axis.contourf(grid.columns, grid.index, grid, levels=levels, cmap="cividis")
        axis.contour(grid.columns, grid.index, grid, levels=levels, colors=style.INK,
                     linewidths=0.3)  # fmt: skip
        axis.plot(0, 0, "+", color=style.VERMILION, markersize=7)
        axis.set_aspect("equal")
        axis.set_title(titled(str(variant)), fontsize=8)
        if place >= len(groups) - 4:
            axis.set_xlabel("second direction")
        if place % 4 == 0:
            axis.set_ylabel("first direction")
        axis.grid(visible=False)
    if image is not None:
        ticks = [x for x in MaxNLocator(5).tick_values(0, most) if 0 <= x <= levels[-1]]
        fig.colorbar(image, ax=axes, label="rise of the loss (nats)", shrink=0.8, ticks=ticks,
                     format="%.2g")  # fmt: skip
    return fig
