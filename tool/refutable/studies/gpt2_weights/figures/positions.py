"""Figures of the gpt2-weights study about the table of position embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.report.figures import style
from refutable.report.figures.references import short
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.gpt2_weights.figures.data import STUDY, facts, largest
from refutable.studies.gpt2_weights.figures.sizes import _map
from refutable.system import wording

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

KINDS = ("raw", "centred", "standardised")


@figure(study=STUDY, name="position-table", title="The table of position embeddings")
def position_table(sample: Sample) -> Drawing:
    """The whole table, position by dimension."""
    table = largest(sample, facts(sample, "position_map", "row", "column"), 2)
    return Drawing(
        table,
        _draw_table,
        "A point is the mean of a block of positions and dimensions, so none is left out. The "
        "scale ends at the 99.5th percentile.",
        table,
    )


def _draw_table(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), columns=1, height=3.2, share_x=False, share_y=False)
    for axis, (model, part) in zip(axes, groups, strict=True):
        _map(axis, part, "dimension", "position")
        axis.set_title(short(model))
    return fig


@figure(study=STUDY, name="position-dimensions", title="Single dimensions over positions")
def position_dimensions(sample: Sample) -> Drawing:
    """The study's four dimensions, or four even ones in a narrower model."""
    return _curves(sample, "studied")


@figure(
    study=STUDY,
    name="position-variances",
    title="Dimensions of low, middle and high variance over positions",
)
def position_variances(sample: Sample) -> Drawing:
    """Two dimensions each of the lowest, middle and highest variance."""
    return _curves(sample, "by variance")


def _curves(sample: Sample, which: str) -> Drawing:
    curves = facts(sample, "position_curves", "dim", "position")
    fits = facts(sample, "position_periodicity", "fit", "dim")
    wide = fits.pivot_table(index=["model", "dim"], columns="fit", values="value").reset_index()
    variance = facts(sample, "position_variance", "dim").rename(columns={"value": "variance"})
    table = curves.merge(wide, on=["model", "dim"]).merge(
        variance[["model", "dim", "variance"]], on=["model", "dim"]
    )
    table = largest(sample, table, 1)
    dims = list(dict.fromkeys(table["dim"]))
    # The observable writes the study's dimensions first, then by variance.
    spread = table.drop_duplicates("dim").set_index("dim")["variance"].sort_values()
    middle = spread.index[len(spread) // 2]
    ends = [*spread.index[:2], middle, *spread.index[-2:]]
    chosen = dims[:4] if which == "studied" else list(dict.fromkeys(ends))
    table = table[table["dim"].isin(chosen)].reset_index(drop=True)
    if which != "studied":
        table = table.sort_values(["variance", "position"], ignore_index=True)
    return Drawing(
        table,
        _draw_curves,
        "Means of runs of positions where there are more than 256. Titles: variance over "
        "positions, share of it that a line and one sinusoid hold (R2), and that sinusoid's "
        "period in positions.",
        table,
    )


def _draw_curves(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("dim", sort=False))
    fig, axes = style.panels(len(groups), height=2.0, share_y=False)
    for axis, (dim, part) in zip(axes, groups, strict=True):
        axis.plot(part["position"], part["value"], color=style.BLUE, linewidth=1)
        first = part.iloc[0]
        axis.set_title(
            f"dimension {dim}\nvariance {first['variance']:.2g}, R2 {first['r2_sinusoid']:.2f}, "
            f"period {first['period']:.0f}",
            fontsize=8.5,
        )
        axis.set_xlabel("position")
        axis.set_ylabel("embedding")
    return fig


@figure(study=STUDY, name="adjacent-positions", title="Correlation of each position with the next")
def adjacent_positions(sample: Sample) -> Drawing:
    """Correlation of neighbours by position: raw, centred, standardised."""
    table = largest(sample, facts(sample, "position_adjacent_correlation", "kind", "position"), 4)
    return Drawing(
        table,
        _draw_adjacent,
        "Pearson r over dimensions. Raw: as stored. Centred: each dimension's mean over positions "
        "taken off. Standardised: also scaled, so that a few loud dimensions do not decide.",
        table,
    )


def _draw_adjacent(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.4, share_x=False)
    for axis, (model, rows) in zip(axes, groups, strict=True):
        said = []
        for place, kind in enumerate(KINDS):
            part = rows[rows["kind"] == kind].sort_values("position")
            axis.plot(part["position"], part["value"], color=style.GROUPS[place][0],
                      linewidth=(2.0, 1.2, 0.9)[place], alpha=(0.55, 0.9, 1.0)[place],
                      linestyle=("-", "--", ":")[place], label=str(kind))  # fmt: skip
            said.append(f"{kind} {wording.number(part['value'].mean(), decimals=2)}")
        axis.axhline(0, color=style.INK, linewidth=0.8)
        axis.set_title(f"{short(model)}\nmean r: {', '.join(said)}", fontsize=7.5)
        axis.set_xlabel("position")
        axis.set_ylabel("r with the next position")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7.5)
    return fig
