"""Attention maps of the norm-ablation study, all on one colour scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report import text
from refutable.report.figures import style
from refutable.report.figures.coordinates import evenly
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.norm_ablation.figures.data import STUDY, facts, first_seeds, titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from refutable.system.typing import Scalar

MOST_BLOCKS, MOST_HEADS = 8, 8
MOST_UNEVEN = 4
"""Heads of each of several models that are drawn."""
ALL = "all"
SCALE = (
    "The colour scale is the same on all attention figures of the study, from 0 to 1, and that of "
    "square roots: most weights are small."
)


def _maps(sample: Sample) -> pd.DataFrame:
    rows = first_seeds(facts(sample, "attention_map", "query", "key"))
    rows = rows.astype({"query": int, "key": int, "layer": int, "head": int})
    table: pd.DataFrame = rows[rows["key"] <= rows["query"]].reset_index(drop=True)
    return table


def _picked(table_of: pd.DataFrame, column: str, most: int) -> pd.DataFrame:
    kept = evenly(sorted(int(x) for x in table_of[column].unique()), most)
    table: pd.DataFrame = table_of[table_of[column].isin(kept)]
    return table


@figure(study=STUDY, name="attention-heads", title="Attention of single heads")
def attention_heads(sample: Sample) -> Drawing:
    """Maps of one model, blocks as rows and heads as columns; of several the most uneven heads."""
    rows = _maps(sample)
    columns = ["variant", "layer", "head", "query", "key", "value"]
    said = (
        "Attention weight of each query (row) on each key (column) of the first tokens of held-out "
        "documents, mean over documents. "
    )
    if rows["variant"].nunique() == 1:
        table = _picked(_picked(rows, "layer", MOST_BLOCKS), "head", MOST_HEADS)
        said += "Of more than eight blocks or heads, eight evenly spaced ones. "
        return Drawing(table[columns], _draw_heads, said + SCALE, rows)
    said += (
        f"Of each model the {MOST_UNEVEN} heads that are furthest from attending to all tokens "
        "alike (mean over queries of the relative entropy to an even spread, in nats, below each "
        f"map behind block.head). {SCALE}"
    )
    return Drawing(_most_uneven(rows), _draw_uneven, said, rows)


def _most_uneven(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the heads of each model whose mean relative entropy to an even spread is largest."""
    shares = rows["value"].clip(lower=1e-12)
    gained = rows["value"] * np.log(shares * (rows["query"] + 1))
    keys = ["variant", "layer", "head"]
    total = rows.assign(nats=gained).groupby(keys, sort=False)["nats"].sum()
    # The first query sees one token alone: it is even whatever the head does.
    uneven = (total / rows["query"].max()).rename("nats").reset_index()
    strongest = uneven.sort_values("nats", ascending=False, kind="stable")
    kept = strongest.groupby("variant", sort=False).head(MOST_UNEVEN)
    table = rows.merge(kept, on=keys)
    return table[[*keys, "query", "key", "value", "nats"]]


@figure(study=STUDY, name="attention-blocks", title="Attention by block, mean over heads")
def attention_blocks(sample: Sample) -> Drawing:
    """Maps averaged over heads, by block, and over everything below them."""
    import pandas as pd

    rows = _maps(sample)
    parts = []
    for variant, part in rows.groupby("variant", sort=False):
        by_block = part.groupby(["layer", "query", "key"])["value"].mean().reset_index()
        whole = by_block.groupby(["query", "key"])["value"].mean().reset_index()
        if rows["variant"].nunique() > 1:
            by_block = _picked(by_block, "layer", MOST_BLOCKS)
        both = [by_block.astype({"layer": str}), whole.assign(layer=ALL)]
        parts.append(pd.concat(both, ignore_index=True).assign(variant=variant))
    table = pd.concat(parts, ignore_index=True)
    return Drawing(
        table[["variant", "layer", "query", "key", "value"]],
        _draw_blocks,
        "Mean over the heads of each block, and in the last map over all heads and blocks; first "
        "tokens of held-out documents, mean over documents. Of several models with more than eight "
        f"blocks each, eight evenly spaced ones. {SCALE}",
        rows,
    )


def _mosaic(
    part: pd.DataFrame, rows: list[Scalar], columns: list[Scalar]
) -> tuple[NDArray[np.float64], int]:
    """Put maps side by side with a gap of one cell: rows by ``layer``, columns by ``head``."""
    size = int(part["query"].max()) + 1
    step = size + 1
    canvas = np.full((len(rows) * step - 1, len(columns) * step - 1), np.nan)
    top = part["layer"].map({name: place * step for place, name in enumerate(rows)})
    left = part["head"].map({name: place * step for place, name in enumerate(columns)})
    canvas[top + part["query"], left + part["key"]] = part["value"]
    return canvas, step


def _draw_mosaics(table: pd.DataFrame, across: int, tall: float) -> tuple[Figure, list[Axes]]:
    """Draw one mosaic for each variant on the common scale, and the scale beside them."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure as Canvas

    groups = list(table.groupby("variant", sort=False))
    down = -(-len(groups) // across)
    across = -(-len(groups) // down)
    height = tall * down + 0.6
    if len(groups) == 1:
        # One model fills the canvas, whatever its number of blocks and heads.
        cells = groups[0][1].groupby("variant")[["layer", "head"]].nunique().iloc[0]
        height = (style.WIDTH - 1.4) * cells["layer"] / cells["head"] + 0.9
    fig = Canvas(figsize=(style.WIDTH, height), layout="constrained")
    grid = fig.subplots(down, across, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[len(groups) :]:
        spare.set_visible(False)
    image = None
    for axis, (variant, part) in zip(axes, groups, strict=False):
        rows = list(dict.fromkeys(part["layer"]))
        columns = sorted(part["head"].unique())
        canvas, step = _mosaic(part, rows, columns)
        image = axis.imshow(canvas, cmap="magma_r", norm=PowerNorm(0.5, 0, 1),
                            interpolation="nearest")  # fmt: skip
        middle = (step - 2) / 2
        same = rows == list(dict.fromkeys(groups[0][1]["layer"]))
        labelled = not same or axis.get_subplotspec().is_first_col()
        axis.set_yticks(
            [middle + step * i for i in range(len(rows))],
            [str(r) if labelled else "" for r in rows],
        )
        axis.set_xticks([middle + step * i for i in range(len(columns))], [str(c) for c in columns])
        axis.tick_params(length=0, labelsize=7.5)
        axis.set_title(titled(str(variant)), fontsize=8)
        axis.grid(visible=False)
        for spine in axis.spines.values():
            spine.set_visible(False)
    for row in grid:
        row[0].set_ylabel("block")
    if image is not None:
        fig.colorbar(image, ax=axes, label="attention weight (share)", shrink=0.7, aspect=30)
    return fig, axes[: len(groups)]


def _draw_heads(table: pd.DataFrame) -> Figure:
    blocks = table.groupby("variant")["layer"].nunique().max()
    fig, axes = _draw_mosaics(table, 4, 0.42 * blocks + 0.5)
    for axis in axes:
        axis.set_xlabel("head")
    return fig


def _draw_uneven(table: pd.DataFrame) -> Figure:
    """Draw each model's most uneven heads beside each other, two models in a row."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure as Canvas

    groups = list(table.groupby("variant", sort=False))
    down = -(-len(groups) // 2)
    fig = Canvas(figsize=(style.WIDTH, 1.5 * down + 0.6), layout="constrained")
    # A narrow empty column between the two models of a row.
    ratios = [*[1.0] * MOST_UNEVEN, 0.2, *[1.0] * MOST_UNEVEN]
    grid = fig.subplots(down, len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})
    for axis in grid.flat:
        axis.set_visible(False)
    image = None
    for place, (variant, part) in enumerate(groups):
        axes = grid[place // 2, (MOST_UNEVEN + 1) * (place % 2) :]
        heads = part.sort_values("nats", ascending=False).groupby(["layer", "head"], sort=False)
        for at, (axis, ((layer, head), maps)) in enumerate(zip(axes, heads, strict=False)):
            square = maps.pivot_table(index="query", columns="key", values="value")
            axis.set_visible(True)
            image = axis.imshow(square.to_numpy(), cmap="magma_r", norm=PowerNorm(0.5, 0, 1),
                                interpolation="nearest")  # fmt: skip
            if at == 0:
                name = axis.set_title(text.visible(str(variant), 40), fontsize=8)
                # It may be wider than its map.
                name.set_in_layout(False)
            else:
                axis.set_title(" ", fontsize=8)
            axis.set_xlabel(f"{layer}.{head}: {maps['nats'].iloc[0]:.2f}", fontsize=7.5)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set_visible(False)
    if image is not None:
        fig.colorbar(image, ax=list(grid.flat), label="attention weight (share)", shrink=0.6,
                     aspect=30)  # fmt: skip
    return fig


def _draw_blocks(table: pd.DataFrame) -> Figure:
    if table["variant"].nunique() == 1:
        return _draw_one_model(table)
    rows = table.groupby("variant")["layer"].nunique().max()
    fig, axes = _draw_mosaics(table.assign(head=0), 8, 0.62 * rows + 0.3)
    for axis in axes:
        axis.set_xticks([])
    return fig


def _draw_one_model(table: pd.DataFrame) -> Figure:
    """Draw the blocks of one model beside each other, over the whole canvas."""
    from matplotlib.colors import PowerNorm

    groups = list(table.groupby("layer", sort=False))
    across = -(-len(groups) // -(-len(groups) // 6))
    fig, axes = style.panels(len(groups), columns=across, height=(style.WIDTH - 1) / across + 0.15)
    if len(groups) == 1:
        fig.set_size_inches(5.4, 4.7)
    image = None
    for axis, (layer, part) in zip(axes, groups, strict=True):
        square = part.pivot_table(index="query", columns="key", values="value")
        image = axis.imshow(square.to_numpy(), cmap="magma_r", norm=PowerNorm(0.5, 0, 1),
                            interpolation="nearest")  # fmt: skip
        axis.set_title("all blocks" if layer == ALL else f"block {layer}", fontsize=7.5)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
    if image is not None:
        fig.colorbar(image, ax=axes, label="attention weight (share)", shrink=0.7, aspect=30)
    return fig
