"""What the no-position model does inside: attention, replacements, attribution, neurons."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.coordinates import placed, plain_log_labels
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure
from refutable.spec.references import reference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STUDY = "no-position"


def one_model(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first seed, for pictures of a single model."""
    table: pd.DataFrame = rows[rows["model"] == rows["model"].min()]
    return table


@figure(study=STUDY, name="attention", title="Mean attention pattern of each layer")
def attention(sample: Sample) -> Drawing:
    """Heat map of the pattern, mean over sequences and seeds."""
    source = sample.observed("mean_attention")
    table = placed(source, "query", "key")
    table = table.astype({"query": int, "key": int})
    table = table.groupby(["layer", "query", "key"])["value"].mean().reset_index()
    return Drawing(
        table[table["key"] <= table["query"]],
        _draw_attention,
        "Attention weight of each query (row) on each key (column), mean over 256 held-out "
        "sequences and over the seeds. The scale is that of square roots, so that the even "
        "spread of layer 0 can be seen beside the BOS token in column 0.",
        source,
    )


def _draw_attention(table: pd.DataFrame) -> Figure:
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure as Canvas

    layers = sorted(table["layer"].unique())
    fig = Canvas(figsize=(style.WIDTH, 3.9), layout="constrained")
    axes = list(fig.subplots(1, len(layers), squeeze=False)[0])
    largest = table["value"].max()
    image = None
    for axis, layer in zip(axes, layers, strict=True):
        part = table[table["layer"] == layer]
        size = int(table["query"].max()) + 1
        grid = np.full((size, size), np.nan)
        grid[part["query"], part["key"]] = part["value"]
        image = axis.imshow(grid, cmap="cividis_r", norm=PowerNorm(0.5, 0, largest))
        axis.set_title(f"layer {layer}")
        axis.set_xlabel("key position")
        axis.set_ylabel("query position")
        axis.grid(visible=False)
    if image is not None:
        fig.colorbar(image, ax=axes, label="attention weight (share)", shrink=0.8)
    return fig


@figure(study=STUDY, name="replacement", title="Loss when one activation is replaced by its mean")
def replacement(sample: Sample) -> Drawing:
    """Bars of the loss for every site, beside the published losses."""
    import pandas as pd

    source = sample.observed("replaced_loss")
    table = _over_seeds(source, "mean")
    # Claims about replacements per position alone leave the other kind unmeasured.
    with suppress(MissingDataError):
        whole = _over_seeds(sample.observed("loss_without_position"), "mean-all")
        table = pd.concat([table, whole], ignore_index=True)
    order = {site: place for place, site in enumerate(placed(source, "site")["site"].unique())}
    table["published"] = table["site"].map(reference("no_position", "mean_replacement"))
    table = table.sort_values("site", key=lambda site: site.map(order), kind="stable")
    return Drawing(
        table,
        _draw_replacement,
        "Bars: loss with the activation at a site replaced by its mean over sequences, kept per "
        "position; geometric mean over seeds, whiskers from the lowest to the highest seed. "
        "Circles: published. Crosses: queries, keys or values replaced by one mean over positions "
        "too. Line: intact model.",
        source,
    )


def _over_seeds(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    """Geometric mean, lowest and highest loss at each site."""
    table = placed(rows, "site")
    table["log"] = np.log(table["value"])
    wide = table.groupby("site")["log"].agg(["mean", "min", "max"]).apply(np.exp).reset_index()
    return wide.assign(how=how)


def _draw_replacement(table: pd.DataFrame) -> Figure:
    kept = table[(table["how"] == "mean") & (table["site"] != "intact")].reset_index(drop=True)
    whole = table[(table["how"] == "mean-all")].set_index("site")["mean"]
    intact = float(table[table["site"] == "intact"]["mean"].iloc[0])
    fig, axis = style.single(0.19 * len(kept) + 1.2)
    rows = np.arange(len(kept))
    low = intact / 4
    axis.barh(rows, kept["mean"] - low, left=low, height=0.7, color=style.SKY)
    whiskers = [kept["mean"] - kept["min"], kept["max"] - kept["mean"]]
    axis.errorbar(kept["mean"], rows, xerr=np.array(whiskers), fmt="none", ecolor=style.BLUE,
                  capsize=2, lw=1.2)  # fmt: skip
    axis.plot(kept["published"], rows, "o", color=style.INK, markersize=4.5,
              markerfacecolor="none", label="published")  # fmt: skip
    axis.plot(whole.reindex(kept["site"]), rows, "x", color=style.VERMILION, markersize=4.5,
              label="mean over positions too")  # fmt: skip
    axis.axvline(intact, color=style.INK, linewidth=1, label="intact model")
    axis.set_xscale("log")
    plain_log_labels(axis.xaxis)
    axis.set_xlim(low, 40)
    axis.set_ylim(len(kept) - 0.4, -0.6)
    axis.set_yticks(rows, kept["site"].to_list(), fontsize=7.5)
    axis.set_xlabel("loss after replacement (nats, log scale)")
    axis.grid(visible=False, axis="y")
    axis.legend(loc="upper center", bbox_to_anchor=(0.35, 1.06), ncols=3)
    return fig


@figure(study=STUDY, name="attribution", title="What each part adds to the correct token's logit")
def attribution(sample: Sample) -> Drawing:
    """Direct logit attribution by position."""
    source = sample.observed("previous_token_attribution")
    table = placed(source, "part", "position").astype({"position": int})
    grouped = table.groupby(["part", "position"], sort=False)["value"]
    rows = grouped.agg(["mean", "min", "max"]).reset_index()
    return Drawing(
        rows,
        _draw_attribution,
        "Part of the correct token's logit (relative to the mean logit) that each component "
        "writes, mean over 64 held-out sequences and the seeds; shaded from the lowest to the "
        "highest seed. The parts add up to the logit exactly.",
        source,
    )


def _draw_attribution(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(3.8)
    for (part, rows), (color, marker) in zip(
        table.groupby("part", sort=False), style.GROUPS, strict=False
    ):
        axis.fill_between(rows["position"], rows["min"], rows["max"], color=color, alpha=0.2, lw=0)
        axis.plot(rows["position"], rows["mean"], color=color, marker=marker, markevery=6,
                  markersize=4.5, label=str(part))  # fmt: skip
    axis.axhline(0, color=style.INK, linewidth=1)
    axis.set_xlabel("position")
    axis.set_ylabel("logit (nats)")
    axis.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.1))
    return fig


@figure(study=STUDY, name="neurons", title="Activity of feed-forward neurons by position")
def neurons(sample: Sample) -> Drawing:
    """Heat maps of the share of active sequences and the mean activation of one seed."""
    source = one_model(sample.observed("neuron_activity"))
    table = placed(source, "statistic", "neuron", "position")
    table = table.astype({"neuron": int, "position": int})
    return Drawing(
        table[["statistic", "layer", "neuron", "position", "value"]],
        _draw_neurons,
        "Rows are positions, columns the neurons of a layer, sorted by how often they are active. "
        "Above: share of 256 held-out sequences in which a neuron is active. Below: its mean "
        "activation.",
        source,
    )


def _draw_neurons(table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure as Canvas

    layers = sorted(table["layer"].unique())
    statistics = list(table["statistic"].unique())
    fig = Canvas(figsize=(style.WIDTH, 4.6), layout="constrained")
    grid = fig.subplots(len(statistics), len(layers), squeeze=False, sharey=True)
    for column, layer in enumerate(layers):
        rows = table[table["layer"] == layer]
        maps = {
            name: part.pivot_table(index="position", columns="neuron", values="value")
            for name, part in rows.groupby("statistic", sort=False)
        }
        order = maps[statistics[0]].mean().sort_values(ascending=False).index
        for row, name in enumerate(statistics):
            axis = grid[row, column]
            most = table[table["statistic"] == name]["value"].quantile(0.995)
            image = axis.imshow(
                maps[name][order], aspect="auto", cmap="cividis_r", vmin=0, vmax=most,
                interpolation="nearest",
            )  # fmt: skip
            sorted_by = maps[name].index
            axis.set_yticks(range(0, len(sorted_by), 3), [str(p) for p in sorted_by[::3]])
            axis.set_title(f"layer {layer}: {name}")
            axis.set_xlabel("neuron, sorted by activity")
            axis.grid(visible=False)
            if column == 0:
                axis.set_ylabel("position")
            else:
                fig.colorbar(image, ax=list(grid[row]), label=name, shrink=0.9)
    return fig
