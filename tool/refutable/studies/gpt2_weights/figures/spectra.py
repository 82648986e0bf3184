"""Figures of the gpt2-weights study: components, scatter, heads, and untrained copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.coordinates import evenly
from refutable.report.figures.references import short
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.gpt2_weights.figures.data import MOST_PANELS, STUDY, facts, largest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VIEWS = {
    "ks_normal": "KS distance to a normal",
    "excess_kurtosis": "excess kurtosis",
    "participation": "participation ratio",
    "first_two_share": "share of two components",
    "silhouette": "silhouette of the scatter",
    "row_spread": "spread of row variances",
    "query_spread": "spread of query norms",
    "cophenetic_qk": "tree of heads, W_Q W_K'",
    "cophenetic_ov": "tree of heads, W_V W_O",
    "adjacent_correlation": "r of adjacent positions",
    "top3_share": "three Fourier components",
    "dominant_share": "largest position dimension",
}


@figure(study=STUDY, name="cumulative-variance", title="Variance held by the first components")
def cumulative_variance(sample: Sample) -> Drawing:
    """Cumulative explained variance of [Q K V], first and last three blocks."""
    table = largest(sample, facts(sample, "attention_input_cumulative", "point"), 4)
    return Drawing(
        table,
        _draw_cumulative,
        "Principal components of queries, keys and values side by side (rows are input features) "
        "in the first and last three blocks. The dotted diagonal is a matrix whose components "
        "are all equal.",
        table,
    )


def _draw_cumulative(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.6)
    for axis, (model, rows) in zip(axes, groups, strict=True):
        for place, (layer, part) in enumerate(rows.groupby("layer")):
            color, marker = style.GROUPS[place % len(style.GROUPS)]
            x, y = [0, *part["point"]], [0, *part["value"]]
            axis.plot(x, y, color=color, marker=marker, markevery=(4 + place, 12), markersize=4,
                      linewidth=1.1, label=f"block {layer}")  # fmt: skip
        axis.plot([0, 1], [0, 1], color=style.MUTED, linestyle=":", linewidth=1)
        axis.set_title(short(model))
        axis.set_xlabel("share of the components")
        axis.set_ylabel("share of the variance")
        axis.legend(loc="lower right", fontsize=7)
    return fig


@figure(study=STUDY, name="component-scatter", title="Input features on two components")
def component_scatter(sample: Sample) -> Drawing:
    """Scatter of the rows of [Q K V], first and last three blocks."""
    rows = largest(sample, facts(sample, "attention_scatter", "component", "row"), 1)
    wide = rows.pivot_table(index=["model", "layer", "row"], columns="component", values="value")
    wide.columns = ["first", "second"]
    quality = facts(sample, "scatter_silhouette").rename(columns={"value": "silhouette"})
    copies = facts(sample, "scatter_silhouette_rotated", "copy")
    best = copies.groupby(["model", "layer"])["value"].max().rename("rotated").reset_index()
    table = wide.reset_index().merge(quality[["model", "layer", "silhouette"]]).merge(best)
    return Drawing(
        table,
        _draw_scatter,
        "Rows of queries, keys and values on their first two principal components, for the "
        "largest model of the run (at most 512 evenly spaced rows are drawn). Titles: best "
        "silhouette of 2 to 4 clusters over all rows, and the highest of 19 copies whose rows "
        "are mixed by random rotations.",
        rows,
    )


def _draw_scatter(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby(["model", "layer"], sort=False))
    fig, axes = style.panels(len(groups), columns=3, height=2.2, share_x=False, share_y=False)
    for axis, ((_, layer), part) in zip(axes, groups, strict=True):
        axis.scatter(part["first"], part["second"], s=5, color=style.BLUE, alpha=0.5, lw=0)
        first = part.iloc[0]
        axis.set_title(
            f"block {layer}: {first['silhouette']:.2f}, copies to {first['rotated']:.2f}",
            fontsize=8,
        )
        axis.set_xlabel("first component")
        axis.set_ylabel("second component")
    return fig


@figure(study=STUDY, name="query-heads", title="Size of the query weights of each head")
def query_heads(sample: Sample) -> Drawing:
    """Map of the norm of W_Q by block and head."""
    table = facts(sample, "query_head", "measure")
    table = largest(sample, table[table["measure"] == "norm"], 2)
    return Drawing(
        table,
        _draw_queries,
        "Frobenius norm of each head's part of W_Q over the mean of its block's heads.",
        table,
    )


def _draw_queries(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=3.0, share_x=False, share_y=False)
    for axis, (model, part) in zip(axes, groups, strict=True):
        grid = part.pivot_table(index="layer", columns="head", values="value").astype(float)
        values = grid.div(grid.mean(axis=1), axis=0).to_numpy()
        reach = max(float(np.abs(values - 1).max()), 0.01)
        shown = axis.imshow(values, cmap="RdBu", vmin=1 - reach, vmax=1 + reach, aspect="auto")
        axis.grid(visible=False)
        axis.set_title(short(model))
        axis.set_xlabel("head")
        axis.set_ylabel("block")
        axis.set_yticks(evenly(list(range(len(grid))), 8))
        axis.set_xticks(evenly(list(range(grid.shape[1])), 12))
        fig.colorbar(shown, ax=axis, label="norm over the block's mean", fraction=0.06)
    return fig


@figure(study=STUDY, name="head-trees", title="Trees of heads by block")
def head_trees(sample: Sample) -> Drawing:
    """Ward dendrogram of each block's heads under W_Q W_K'."""
    table = facts(sample, "head_distance", "operator", "other")
    table = largest(sample, table[table["operator"] == "qk"], 1)
    kept = evenly(sorted(int(x) for x in table["layer"].unique()), MOST_PANELS)
    table = table[table["layer"].isin(kept)]
    tree = facts(sample, "head_cophenetic", "operator")
    tree = tree[tree["operator"] == "qk"].rename(columns={"value": "cophenetic"})
    table = table.merge(tree[["model", "layer", "cophenetic"]], on=["model", "layer"])
    return Drawing(
        table,
        _draw_trees,
        "Ward linkage of the heads' W_Q W_K' scaled to length 1, for the largest model of the run "
        "(at most twelve evenly spaced blocks). Height: distance; operators without any relation "
        "are the square root of 2 apart, heads that share a key lie closer by construction. "
        "Titles: cophenetic correlation.",
        table,
    )


def _draw_trees(table: pd.DataFrame) -> Figure:
    from scipy.cluster.hierarchy import dendrogram, ward
    from scipy.spatial.distance import squareform

    groups = list(table.groupby("layer"))
    fig, axes = style.panels(len(groups), columns=3, height=1.9)
    for axis, (layer, part) in zip(axes, groups, strict=True):
        grid = part.pivot_table(index="head", columns="other", values="value").to_numpy(dtype=float)
        links = ward(squareform(grid, checks=False))
        tree = dendrogram(links, no_plot=True)
        for x, y in zip(tree["icoord"], tree["dcoord"], strict=True):
            axis.plot((np.array(x) - 5) / 10, y, color=style.BLUE, linewidth=1.2)
        axis.set_xticks(range(len(grid)), tree["ivl"], fontsize=7)
        axis.grid(visible=False, axis="x")
        axis.set_title(f"block {layer}: {part['cophenetic'].iloc[0]:.2f}")
        axis.set_xlabel("head")
        axis.set_ylabel("distance")
    axes[0].set_ylim(0, 1.05 * max(axis.dataLim.y1 for axis in axes))
    return fig


@figure(study=STUDY, name="against-untrained", title="Each view against untrained copies")
def against_untrained(sample: Sample) -> Drawing:
    """Every measure of a model in units of the spread of its untrained copies."""
    views = facts(sample, "weight_views", "view")
    copies = facts(sample, "untrained_weight_views", "copy", "view")
    spread = copies.groupby(["model", "view"])["value"].agg(["mean", "std"]).reset_index()
    copies = copies.assign(kind="untrained")
    import pandas as pd

    both = pd.concat([views.assign(kind="model", copy=-1), copies], ignore_index=True)
    table = both.merge(spread, on=["model", "view"])
    table = table[table["std"] > 0].reset_index(drop=True)
    table["deviation"] = (table["value"] - table["mean"]) / table["std"]
    table = largest(sample, table, 6)
    return Drawing(
        table,
        _draw_copies,
        "Large marks: the model; small ones: 19 copies with fresh weights, at the same three "
        "blocks. Distances are in standard deviations of the copies, on a scale that is linear up "
        "to 3. A view tells training only where the model lies beyond all copies.",
        table,
    )


def _draw_copies(table: pd.DataFrame) -> Figure:
    from matplotlib.ticker import FuncFormatter, NullLocator

    groups = list(table.groupby("model", sort=False))
    names = [v for v in VIEWS if v in set(table["view"])]
    fig, axes = style.panels(len(groups), height=0.6 + 0.19 * len(names), share_x=False)
    for axis, (model, part) in zip(axes, groups, strict=True):
        place = part["view"].map(names.index)
        copies = part["kind"] == "untrained"
        axis.plot(part["deviation"][copies], place[copies], "|", color=style.MUTED, markersize=6)
        axis.plot(part["deviation"][~copies], place[~copies], "D", color=style.VERMILION,
                  markeredgecolor=style.INK, markersize=5.5)  # fmt: skip
        axis.set_xscale("symlog", linthresh=3)
        reach = max(float(part["deviation"].abs().max()) * 1.5, 10.0)
        axis.set_xlim(-reach, reach)
        axis.set_xticks([t for t in (-1000, -100, -10, 0, 10, 100, 1000) if abs(t) <= reach])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.axvline(0, color=style.INK, linewidth=0.8)
        axis.set_yticks(range(len(names)), [VIEWS[name] for name in names], fontsize=7.5)
        axis.set_title(short(model))
        axis.set_xlabel("distance from the copies (sd)")
    axes[0].invert_yaxis()
    return fig
