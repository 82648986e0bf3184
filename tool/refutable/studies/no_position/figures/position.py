"""Circuits of the no-position model as heat maps, and how position comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.coordinates import placed, plain_log_labels
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.no_position.figures.inside import STUDY, one_model

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure(study=STUDY, name="qk-maps", title="Which token attends to which: QK maps")
def qk_maps(sample: Sample) -> Drawing:
    """QK maps of each layer, as published and composed, of one seed."""
    source = one_model(sample.observed("query_key_map"))
    table = placed(source, "form", "query", "key").astype({"query": int, "key": int})
    table = table.rename(columns={"query": "row", "key": "column"})
    return Drawing(
        table[["form", "layer", "row", "column", "value"]],
        lambda rows: _draw_maps(rows, "query token", "key token"),
        "Entries over tokens 1 to 60, less their mean over keys. Published: W_E W_Q W_K' W_E' of "
        "raw weights. Composed: with norm and biases, scaled as scores; layer 1 reads what block "
        "0's feed-forward makes of a lone token. Each panel has its own scale.",
        source,
    )


@figure(study=STUDY, name="ov-maps", title="What attending to a token moves: OV maps")
def ov_maps(sample: Sample) -> Drawing:
    """OV maps of each layer, as published and composed, of one seed."""
    source = one_model(sample.observed("output_value_map"))
    table = placed(source, "form", "token", "neuron").astype({"token": int, "neuron": int})
    table = table.rename(columns={"token": "row", "neuron": "column"})
    return Drawing(
        table[["form", "layer", "row", "column", "value"]],
        lambda rows: _draw_maps(rows, "token attended to", "neuron"),
        "Entries from tokens 1 to 60 to 64 neurons, less their mean over neurons. Published: "
        "W_E W_V W_O W_in with the W_in of layer 0 in both layers. Composed: with norm and value "
        "bias, through the layer's own W_in. Each panel has its own scale.",
        source,
    )


def _draw_maps(table: pd.DataFrame, row_name: str, column_name: str) -> Figure:
    from matplotlib.figure import Figure as Canvas

    forms, layers = list(table["form"].unique()), sorted(table["layer"].unique())
    fig = Canvas(figsize=(style.WIDTH, 6.4), layout="constrained")
    grid = fig.subplots(len(forms), len(layers), squeeze=False)
    for at, form in enumerate(forms):
        for column, layer in enumerate(layers):
            part = table[(table["form"] == form) & (table["layer"] == layer)]
            values = part.pivot_table(index="row", columns="column", values="value").to_numpy()
            values = values - values.mean(axis=1, keepdims=True)
            reach = float(np.quantile(np.abs(values), 0.995))
            axis = grid[at, column]
            rows, columns = values.shape
            first = 0 if column_name == "neuron" else 1
            image = axis.imshow(
                values, cmap="PuOr", vmin=-reach, vmax=reach,
                extent=(first - 0.5, first + columns - 0.5, rows + 0.5, 0.5),
            )  # fmt: skip
            axis.set_title(f"layer {layer}, {form}")
            axis.set_xlabel(column_name)
            axis.set_ylabel(row_name)
            axis.grid(visible=False)
            fig.colorbar(image, ax=axis, shrink=0.75)
    return fig


@figure(
    study=STUDY, name="implicit-position", title="How position comes in through the causal mask"
)
def implicit_position(sample: Sample) -> Drawing:
    """Variance of attention's output by position, before and after training."""
    source = sample.observed("attention_output_variance")
    table = placed(source, "training", "position").astype({"position": int})
    table = table[table["position"] > 0]
    rows = table.groupby(["training", "position"], sort=False)["value"]
    return Drawing(
        rows.agg(["mean", "min", "max"]).reset_index(),
        _draw_variance,
        "Variance over sequences of layer 0's attention output, summed over its dimensions; mean "
        "over the seeds, shaded from the lowest to the highest. Dashed: proportional to "
        "t / (t + 1)^2, the variance of an even mean over t tokens and the BOS token.",
        source,
    )


def _draw_variance(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(3.4)
    for (training, part), (color, marker) in zip(
        table.groupby("training", sort=False), style.GROUPS, strict=False
    ):
        place = part["position"].to_numpy(dtype=float)
        axis.fill_between(place, part["min"], part["max"], color=color, alpha=0.25, lw=0)
        axis.plot(place, part["mean"], color=color, marker=marker, markersize=3.5, label=training)
        even = place / (place + 1) ** 2
        last = part["mean"].to_numpy()[-1]
        axis.plot(place, even * last / even[-1], color=color, linestyle="--", lw=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("position t (log scale)")
    axis.set_ylabel("variance (log scale)")
    plain_log_labels(axis.xaxis, axis.yaxis)
    axis.legend(loc="lower left")
    return fig
