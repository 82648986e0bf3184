"""Figures of the gpt2-weights study: sizes, distributions, maps and the profile over depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.references import short
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure
from refutable.studies.gpt2_weights.figures.data import STUDY, facts, largest, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORIES = ("embedding", "position", "attention", "mlp", "norm", "unembedding", "other")
HATCHES = ("", "..", "////", "\\\\\\\\", "xx", "--", "++")
MATRICES = ("q", "k", "v", "o", "in", "gate", "out")


@figure(study=STUDY, name="parameters", title="Unique parameters by category")
def parameters(sample: Sample) -> Drawing:
    """Bars of the parameter counts of each model."""
    table = facts(sample, "parameter_count", "category")
    table = table[table["value"] > 0].reset_index(drop=True)
    return Drawing(
        table,
        _draw_parameters,
        "Every parameter counted once: a tied unembedding is part of the embedding. Numbers: "
        f"parameters, and their size as float32 in megabytes (10^6 bytes).{_tied(sample)}",
        table,
    )


def _tied(sample: Sample) -> str:
    """Name the tied tensors of each model, for a caption."""
    try:
        rows = facts(sample, "tied_parameter", "names")
    except MissingDataError:
        return ""
    said = [
        f"{short(m)} {', '.join(part['names'])}" for m, part in rows.groupby("model", sort=False)
    ]
    return f" Tied: {'; '.join(said)}."


def _draw_parameters(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.1, share_y=False)
    for axis, (model, rows) in zip(axes, groups, strict=True):
        names = [c for c in CATEGORIES if c in set(rows["category"])]
        values = rows.set_index("category")["value"].reindex(names)
        share = values / values.sum()
        axis.barh(range(len(names)), share, color=style.BLUE, alpha=0.75, edgecolor=style.INK)
        for place, (count, part) in enumerate(zip(values, share, strict=True)):
            axis.annotate(f"{count:,.0f} ({count * 4e-6:,.2f} MB)", (part, place), xytext=(4, 0),
                          va="center", textcoords="offset points", fontsize=7.5)  # fmt: skip
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.45)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.set_xlabel("share of unique parameters")
        axis.grid(visible=False, axis="y")
        axis.set_title(f"{short(model)}: {values.sum():,.0f}")
    return fig


@figure(study=STUDY, name="size-by-depth", title="Parameters of each block")
def size_by_depth(sample: Sample) -> Drawing:
    """Stacked bars of each block's parameters."""
    table = largest(sample, facts(sample, "block_parameter_count", "category"), 4)
    table = table[table["value"] > 0].reset_index(drop=True)
    return Drawing(
        table,
        _draw_sizes,
        "Unique parameters of each block by category, for the largest models of the run.",
        table,
    )


def _draw_sizes(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.3, share_x=False, share_y=False)
    names = [c for c in CATEGORIES if c in set(table["category"])]
    for axis, (model, rows) in zip(axes, groups, strict=True):
        wide = rows.pivot_table(index="layer", columns="category", values="value", aggfunc="sum")
        below = np.zeros(len(wide))
        for name in names:
            part = wide[name].fillna(0).to_numpy() / 1e3 if name in wide else np.zeros(len(wide))
            axis.bar(wide.index.astype(int), part, bottom=below, label=name, width=0.8,
                     color=style.GROUPS[CATEGORIES.index(name)][0], edgecolor=style.PAPER,
                     hatch=HATCHES[CATEGORIES.index(name)], alpha=0.8, linewidth=0.4)  # fmt: skip
            below += part
        axis.set_title(short(model))
        axis.set_xlabel("block")
        axis.set_ylabel("parameters (thousands)")
        _whole_blocks(axis)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return fig


@figure(study=STUDY, name="weight-histogram", title="Attention weights against a normal")
def weight_histogram(sample: Sample) -> Drawing:
    """Histogram of [Q K V] with the fitted normal and the place of the KS distance."""
    shares = facts(sample, "attention_input_histogram", "bin")
    statistics = facts(sample, "attention_input_statistics", "statistic")
    wide = statistics.pivot_table(index=["model", "layer"], columns="statistic", values="value")
    table = shares.merge(wide.reset_index(), on=["model", "layer"])
    table = largest(sample, table, 4)
    return Drawing(
        table,
        _draw_weights,
        "Queries, keys and values pooled (GPT-2's c_attn), all weights of a block, in units of "
        "their standard deviation; the scale is logarithmic so that tails show. Curve: normal of "
        "the same mean and sd. Dotted line: where the two distribution functions differ most "
        "(KS). The outermost bars hold all weights beyond 6. For comparison, a Laplace "
        "distribution has KS .062, a t with 3 df .087.",
        table,
    )


def _draw_weights(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby(["model", "layer"], sort=False))
    fig, axes = style.panels(len(groups), height=2.3)
    for axis, ((model, layer), part) in zip(axes, groups, strict=True):
        x = part["bin"].to_numpy()
        width = x[1] - x[0]
        density = np.maximum(part["value"].to_numpy() / width, 1e-7)
        axis.bar(x, density, width=width, color=style.BLUE, alpha=0.6)
        axis.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=style.INK, linewidth=1.3)
        axis.axvline(_farthest(x + width / 2, part["value"]), color=style.VERMILION, linestyle=":")
        axis.set_yscale("log")
        axis.set_ylim(1e-6, 3)
        plain(axis.yaxis)
        first = part.iloc[0]
        axis.set_title(
            f"{short(model)}, block {layer}\nKS {first['ks_normal']:.4f}, "
            f"excess kurtosis {first['excess_kurtosis']:+.2f}",
            fontsize=8.5,
        )
        axis.set_xlabel("weight (standard deviations)")
        axis.set_ylabel("density")
    return fig


def _farthest(edges: np.ndarray, shares: pd.Series) -> float:
    from scipy.special import ndtr

    return float(edges[np.abs(np.cumsum(shares.to_numpy()) - ndtr(edges)).argmax()])


@figure(study=STUDY, name="weight-maps", title="Maps of attention weights")
def weight_maps(sample: Sample) -> Drawing:
    """[Q K V] of the first and last block, whole and enlarged."""
    import pandas as pd

    whole = facts(sample, "attention_input_map", "row", "column").assign(part="whole")
    zoom = facts(sample, "attention_input_zoom", "row", "column").assign(part="corner")
    table = largest(sample, pd.concat([whole, zoom], ignore_index=True), 2)
    return Drawing(
        table,
        _draw_maps,
        "Left: the whole matrix; a point is the mean of a block of weights, so none is left out. "
        "Right: single weights of the first inputs and outputs. Every map has its own scale, "
        "which ends at its 99.5th percentile.",
        table,
    )


def _draw_maps(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby(["model", "layer", "part"], sort=False))
    groups.sort(key=lambda item: (str(item[0][0]), int(str(item[0][1])), item[0][2] != "whole"))
    fig, axes = style.panels(len(groups), height=2.7, share_x=False, share_y=False)
    for axis, ((model, layer, part), rows) in zip(axes, groups, strict=True):
        _map(axis, rows, "output feature", "input feature")
        axis.set_title(f"{short(model)}, block {layer}, {part}")
    return fig


def _map(axis: Axes, part: pd.DataFrame, across: str, down: str) -> None:
    grid = part.pivot_table(index="row", columns="column", values="value")
    values = grid.to_numpy()
    reach = float(np.quantile(np.abs(values), 0.995)) or 1.0
    rows, columns = grid.index.to_numpy(dtype=float), grid.columns.to_numpy(dtype=float)
    edges = [np.append(v, 2 * v[-1] - v[-2]) for v in (columns, rows)]
    shown = axis.pcolormesh(*edges, values, cmap="RdBu", vmin=-reach, vmax=reach, rasterized=True)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_xlabel(across)
    axis.set_ylabel(down)
    axis.figure.colorbar(shown, ax=axis, label="weight", fraction=0.05)


@figure(study=STUDY, name="depth-statistics", title="Weights by block: mean, spread and extremes")
def depth_statistics(sample: Sample) -> Drawing:
    """Mean, sd, largest and smallest weight of each matrix by block."""
    table = facts(sample, "weight_statistics", "statistic", "matrix")
    wanted = ["mean", "sd", "maximum", "minimum"]
    table = largest(sample, table[table["statistic"].isin(wanted)], 1)
    return Drawing(
        table,
        _draw_depth,
        "One line for each kind of matrix, for the largest model of the run. Blocks are the "
        "model's whole population: the lines have no intervals.",
        table,
    )


def _draw_depth(table: pd.DataFrame) -> Figure:
    fig, axes = style.panels(4, height=2.3, share_y=False)
    names = [m for m in MATRICES if m in set(table["matrix"])]
    for axis, statistic in zip(axes, ("mean", "sd", "maximum", "minimum"), strict=True):
        for place, name in enumerate(names):
            part = table[(table["statistic"] == statistic) & (table["matrix"] == name)]
            color, marker = style.GROUPS[place % len(style.GROUPS)]
            axis.plot(part["layer"].astype(int), part["value"], color=color, marker=marker,
                      markersize=3.5, linewidth=1, label=name)  # fmt: skip
        axis.set_title(statistic)
        axis.set_xlabel("block")
        axis.set_ylabel(f"{statistic} of the weights")
        _whole_blocks(axis)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", title="matrix")
    return fig


@figure(study=STUDY, name="row-variances", title="Variance of each input feature's weights")
def row_variances(sample: Sample) -> Drawing:
    """Boxes and violins of the row variances by block."""
    table = facts(sample, "weight_row_variance", "quantile", "matrix")
    table = largest(sample, table[table["matrix"].isin(["q", "in"])], 1)
    return Drawing(
        table,
        _draw_rows,
        "A row holds the weights of one input feature. Boxes: the middle half of the rows, "
        "whiskers from the 5th to the 95th percentile; violins: their density (Gaussian kernel), "
        "from the 1st to the 99th percentile. W_Q above, the feed-forward input below; the scale "
        "is logarithmic.",
        table,
    )


def _draw_rows(table: pd.DataFrame) -> Figure:
    fig, axes = style.panels(4, height=2.3, share_y=False)
    for at, name in enumerate(("q", "in")):
        part = table[table["matrix"] == name]
        grid = part.pivot_table(index="quantile", columns="layer", values="value")
        blocks = grid.columns.astype(int).to_list()
        boxes, violins = axes[2 * at], axes[2 * at + 1]
        boxes.bxp([_box(grid[block]) for block in grid.columns], positions=blocks, widths=0.6,
                  showfliers=False, manage_ticks=False,
                  medianprops={"color": style.VERMILION})  # fmt: skip
        for block in blocks:
            y, density = _outline(grid[block])
            half = 0.42 * density / density.max()
            violins.fill_betweenx(y, block - half, block + half, color=style.BLUE, alpha=0.6, lw=0)
            violins.plot(block, grid[block].loc[0.5], "_", color=style.INK, markersize=5)
        for axis, kind in ((boxes, "boxes"), (violins, "violins")):
            axis.set_yscale("log")
            plain(axis.yaxis)
            axis.set_title(f"{'W_Q' if name == 'q' else 'W_in'}, {kind}")
            axis.set_xlabel("block")
            axis.set_ylabel("variance of a row")
            _whole_blocks(axis)
        # Both show the same rows: one scale.
        ends = [axis.get_ylim() for axis in (boxes, violins)]
        for axis in (boxes, violins):
            axis.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    return fig


_POINTS = 400
"""Points of the quantile function that a violin is drawn from."""


def _box(quantiles: pd.Series) -> dict[str, float]:
    ends = {"whislo": 0.05, "q1": 0.25, "med": 0.5, "q3": 0.75, "whishi": 0.95}
    return {name: float(quantiles.loc[q]) for name, q in ends.items()}


def _outline(quantiles: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Density of the rows on the log scale that it is drawn on, without the outermost hundredths.

    One row that is far from all others would otherwise take the axis for itself.
    """
    shares = np.linspace(0.01, 0.99, _POINTS)
    logs = np.log(np.maximum(quantiles.to_numpy(dtype=float), 1e-12))
    values = np.interp(shares, quantiles.index.to_numpy(dtype=float), logs)
    # Silverman's rule; what is known of a density are its quantiles, so these are the sample.
    middle = np.subtract(*np.interp([0.75, 0.25], shares, values)) / 1.34
    spread = min(float(values.std()), middle) or float(values.std()) or 1e-3
    width = 0.9 * spread * len(quantiles) ** -0.2
    y = np.linspace(values[0], values[-1], _POINTS // 2)
    density = np.exp(-0.5 * ((y[:, None] - values[None, :]) / width) ** 2).mean(axis=1)
    return np.exp(y), density


def _whole_blocks(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
