"""Attention of thoughts: heat map, beside importance on one axis, and against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.thought_tokens.figures.data import (
    PERCENT,
    STUDY,
    by_run,
    over_runs,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure(study=STUDY, name="attention", title="Attention that each thought receives, by block")
def attention(sample: Sample) -> Drawing:
    """Heat map of the share of each thought, block by thought."""
    table = by_run(sample, "mean_thought_attention", "thought")
    table = over_runs(table, "subject", "layer", "thought")
    table["value"] *= PERCENT
    return Drawing(
        table[["subject", "layer", "thought", "value", "runs"]],
        _draw_heat,
        "Share of each thought, per token, in the attention that the six receive from the position "
        "that says the answer; per cent, mean over heads, problems and training runs. An even "
        "share is 16.7.",
        sample.observed("mean_thought_attention"),
    )


def _draw_heat(table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure as Canvas

    subjects = list(dict.fromkeys(table["subject"]))
    layers = sorted(int(layer) for layer in table["layer"].unique())
    height = 1.5 + 0.25 * min(len(layers), 16)
    fig = Canvas(figsize=(style.WIDTH, height), layout="constrained")
    axes = list(fig.subplots(1, len(subjects), squeeze=False)[0])
    image, most = None, float(table["value"].max())
    for axis, subject in zip(axes, subjects, strict=True):
        part = table[table["subject"] == subject]
        grid = part.pivot(index="layer", columns="thought", values="value").sort_index()
        image = axis.imshow(
            grid, cmap="cividis_r", vmin=0, vmax=most, aspect="auto", origin="lower"
        )
        if len(layers) <= 8:
            for row, values in enumerate(grid.to_numpy()):
                for column, value in enumerate(values):
                    dark = value > 0.6 * most
                    axis.text(
                        column, row, f"{value:.1f}", ha="center", va="center", fontsize=8,
                        color=style.PAPER if dark else style.INK,
                    )  # fmt: skip
            axis.set_yticks(range(len(layers)), layers)
        axis.set_xticks(range(grid.shape[1]), grid.columns)
        axis.set_title(subject)
        axis.set_xlabel("thought")
        axis.set_ylabel("block")
        axis.grid(visible=False)
    if image is not None:
        fig.colorbar(image, ax=axes, label="share of the six (per cent)")
    return fig


@figure(study=STUDY, name="side-by-side", title="Importance beside attention")
def side_by_side(sample: Sample) -> Drawing:
    """Bars of accuracy lost and of attention received, both in per cent on one axis."""
    import pandas as pd

    lost = by_run(sample, "mean_thought_importance", "later", "measure", "thought")
    lost = lost[(lost["measure"] == "accuracy") & (lost["later"] != "kept")].assign(
        what="accuracy lost"
    )
    share = by_run(sample, "mean_thought_attention", "thought")
    last = share["layer"] == share["layer"].max()
    share = share[last].assign(what="attention, share of the six")
    table = pd.concat([lost, share], ignore_index=True)
    table = over_runs(table, "subject", "what", "thought")
    table[["value", "low", "high"]] *= PERCENT
    return Drawing(
        table,
        _draw_bars,
        "Accuracy lost when a thought is another problem's, and share of the attention that the "
        "six receive from the answer's position in the last block: both in per cent, on one axis. "
        "Whiskers: 95 % t intervals over training runs.",
        sample.observed("mean_thought_importance"),
    )


def _draw_bars(table: pd.DataFrame) -> Figure:
    subjects = list(dict.fromkeys(table["subject"]))
    kinds = list(dict.fromkeys(table["what"]))
    looks = ((style.BLUE, "////"), (style.ORANGE, ""), (style.GREEN, ".."))
    fig, axes = style.panels(len(subjects), height=2.6)
    for axis, subject in zip(axes, subjects, strict=True):
        for place, (kind, (color, hatch)) in enumerate(zip(kinds, looks, strict=False)):
            part = table[(table["subject"] == subject) & (table["what"] == kind)]
            width = 0.8 / len(kinds)
            x = np.arange(len(part)) + (place - (len(kinds) - 1) / 2) * width
            axis.bar(
                x, part["value"], width, color=color, hatch=hatch, edgecolor=style.INK,
                linewidth=0.6, label=kind,
            )  # fmt: skip
            for at, row in zip(x, part.itertuples(), strict=True):
                axis.errorbar(
                    at, row.value, style.whiskers(row.value, row.low, row.high),
                    color=style.INK, capsize=2, linewidth=1,
                )  # fmt: skip
        axis.set_xticks(range(6), [f"t{number}" for number in range(6)])
        axis.set_title(subject)
        axis.set_xlabel("thought")
        axis.set_ylabel("per cent")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return fig


@figure(study=STUDY, name="scatter", title="Attention against importance, by block")
def scatter(sample: Sample) -> Drawing:
    """One point for each thought of each training run, a panel for each of up to four blocks."""
    lost = by_run(sample, "mean_thought_importance", "later", "measure", "thought")
    lost = lost[(lost["measure"] == "log-probability") & (lost["later"] != "kept")][
        ["model", "thought", "value"]
    ]
    share = by_run(sample, "mean_thought_attention", "thought")
    layers = sorted(share["layer"].unique())
    chosen = [layers[int(place)] for place in np.linspace(0, len(layers) - 1, min(4, len(layers)))]
    table = share[share["layer"].isin(chosen)].merge(
        lost, on=["model", "thought"], suffixes=("_attention", "_importance")
    )
    table["value_attention"] *= PERCENT
    return Drawing(
        table,
        _draw_scatter,
        "Each point is one thought of one training run, mean over problems and heads: its share of "
        "the attention from the answer's position, and the nats of log-probability lost when it is "
        "another problem's. Six thoughts of a run are not six independent points, so no p value is "
        "given.",
        sample.observed("mean_thought_importance"),
    )


def _draw_scatter(table: pd.DataFrame) -> Figure:
    layers = sorted(table["layer"].unique())
    fig, axes = style.panels(len(layers), columns=len(layers), height=2.9)
    for axis, layer in zip(axes, layers, strict=True):
        for place, subject in enumerate(dict.fromkeys(table["subject"])):
            part = table[(table["layer"] == layer) & (table["subject"] == subject)]
            color, marker = style.GROUPS[place]
            axis.scatter(
                part["value_attention"], part["value_importance"], s=18, color=color, marker=marker,
                alpha=0.7, label=subject,
            )  # fmt: skip
        axis.set_title(f"block {layer}")
        axis.set_xlabel("attention (per cent)")
    axes[0].set_ylabel("importance (nats lost)")
    axes[0].legend(loc="best")
    return fig


@figure(study=STUDY, name="correlation", title="Attention and importance over problems, by thought")
def correlation(sample: Sample) -> Drawing:
    """Correlation over problems of one thought's attention and importance, by thought."""
    table = by_run(sample, "correlation_over_problems", "thought").dropna(subset=["value"])
    return Drawing(
        over_runs(table, "subject", "thought"),
        _draw_correlation,
        "Pearson's r over problems of the attention that a thought receives from the answer's "
        "position (mean over blocks and heads) and the nats lost when it is another problem's. "
        "Whiskers: 95 % t intervals over training runs, where there are several.",
        sample.observed("correlation_over_problems"),
    )


def _draw_correlation(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(3.2)
    for place, subject in enumerate(dict.fromkeys(table["subject"])):
        part = table[table["subject"] == subject]
        color, marker = style.GROUPS[place]
        x = part["thought"].astype(float) + 0.12 * place
        for at, row in zip(x, part.itertuples(), strict=True):
            axis.errorbar(
                at, row.value, style.whiskers(row.value, row.low, row.high), color=color, capsize=2
            )
        axis.scatter(x, part["value"], color=color, marker=marker, label=subject, zorder=3)
    axis.axhline(0, color=style.MUTED, linewidth=1)
    axis.set_ylim(-1, 1)
    axis.set_xlabel("thought")
    axis.set_ylabel("correlation over problems")
    axis.legend(loc="best")
    return fig
