"""Figures of the norm-ablation study: activations, weights, gradients and robustness by variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure
from refutable.studies.norm_ablation.figures.data import (
    FEWEST_SEEDS,
    STUDY,
    facts,
    intervals_said,
    look,
    means,
    variants,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOMENTS = {
    "residual_mean": "mean over dims",
    "residual_log_variance": "log variance over dims",
    "residual_skewness": "skewness over dims",
    "residual_excess_kurtosis": "excess kurtosis over dims",
}
STATISTICS = {
    "sd": "standard deviation",
    "mean": "mean",
    "skewness": "skewness",
    "excess_kurtosis": "excess kurtosis",
}
CHANGED = {
    "words": "share of words replaced by others",
    "characters": "share of words with two letters swapped",
}
"""What the axis of each kind of noise counts."""
MATRICES = ("q", "k", "v", "o", "in", "gate", "out")


@figure(study=STUDY, name="activations", title="Moments of the residual stream by block")
def activations(sample: Sample) -> Drawing:
    """Mean, variance, skewness and kurtosis after each block, one line for each variant."""
    import pandas as pd

    parts, sources = [], []
    for quantity, label in MOMENTS.items():
        try:
            rows = sample.observed(quantity)
        except MissingDataError:
            continue
        sources.append(rows)
        parts.append(means(variants(sample, rows), ["layer"], "family").assign(moment=label))
    if not parts:
        raise MissingDataError("no moment of the residual stream was measured")
    table = pd.concat(parts, ignore_index=True)
    return Drawing(
        table,
        _draw_activations,
        "After each block, mean over tokens t >= 1 of a prompt and over prompt families. "
        f"Shaded: {_moments_said(table)}",
        pd.concat(sources, ignore_index=True),
    )


def _moments_said(table: pd.DataFrame) -> str:
    """Say what the intervals are over, for moments that are known of different seeds."""
    said: dict[str, list[str]] = {}
    for moment, part in table.groupby("moment", sort=False):
        said.setdefault(intervals_said(part), []).append(str(moment))
    if len(said) == 1:
        return next(iter(said))
    return " ".join(f"{', '.join(moments)}: {what}" for what, moments in said.items())


def _draw_activations(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("moment", sort=False))
    fig, axes = style.panels(len(groups), height=2.3, share_y=False)
    for axis, (moment, part) in zip(axes, groups, strict=True):
        _lines(axis, part, "layer", list(table["variant"].unique()))
        axis.set_title(str(moment))
        axis.set_xlabel("block")
        missing = [v for v in table["variant"].unique() if v not in set(part["variant"])]
        if missing:
            said = f"not measured: {', '.join(map(str, missing))}"
            axis.text(0.02, 0.97, said, transform=axis.transAxes, va="top", fontsize=6,
                      color=style.MUTED)  # fmt: skip
    fullest = max(range(len(axes)), key=lambda k: len(axes[k].get_lines()))
    _legend(fig, axes[fullest])
    return fig


def _lines(axis: Axes, table: pd.DataFrame, x: str, present: list[str]) -> None:
    """Draw one line with its interval for each variant."""
    for variant, part in table.groupby("variant", sort=False):
        color, marker = look(str(variant), present)
        abscissae = part[x].astype(float).to_numpy()
        axis.fill_between(abscissae, part["low"], part["high"], color=color, alpha=0.12, lw=0)
        axis.plot(abscissae, part["mean"], color=color, marker=marker, markersize=4, lw=1.2,
                  label=str(variant))  # fmt: skip


def _legend(fig: Figure, axis: Axes) -> None:
    fig.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=7.5)


@figure(study=STUDY, name="weights", title="Weights by kind of matrix")
def weights(sample: Sample) -> Drawing:
    """Moments of each kind of matrix, blocks averaged, one mark for each variant."""
    import pandas as pd

    rows = facts(sample, "weight_statistics", "statistic", "matrix")
    rows = rows[rows["statistic"].isin(STATISTICS)]
    table = pd.DataFrame(
        [
            (*key, *_over_seeds_or_blocks(part))
            for key, part in rows.groupby(["statistic", "matrix", "variant"], sort=False)
        ],
        columns=["statistic", "matrix", "variant", "mean", "low", "high", "over"],
    )
    seeds = table.loc[table["over"] == "seeds", "variant"].unique()
    whiskers = "from the lowest to the highest block of the one seed at hand"
    if len(seeds):
        whiskers = f"95 % t interval over training seeds ({', '.join(seeds)}), else {whiskers}"
    return Drawing(
        table,
        _draw_weights,
        "Moments of the weights of each matrix, mean over blocks; biases and norm gains are in "
        f"none. Whiskers: {whiskers} (pale, without caps, around hollow marks).",
        rows,
    )


def _over_seeds_or_blocks(part: pd.DataFrame) -> tuple[float, float, float, str]:
    seeds = part.groupby("seed")["value"].mean()
    if len(seeds) >= FEWEST_SEEDS:
        return (*style.interval(seeds.to_list()), "seeds")
    blocks = part.groupby("layer")["value"].mean()
    return float(blocks.mean()), float(blocks.min()), float(blocks.max()), "blocks"


def _draw_weights(table: pd.DataFrame) -> Figure:
    present = list(table["variant"].unique())
    matrices = [m for m in MATRICES if m in set(table["matrix"])]
    shown = [name for name in STATISTICS if name in set(table["statistic"])]
    fig, axes = style.panels(len(shown), height=2.3, share_y=False)
    offsets = np.linspace(-0.32, 0.32, len(present)) if len(present) > 1 else [0.0]
    for axis, statistic in zip(axes, shown, strict=True):
        for variant, offset in zip(present, offsets, strict=True):
            part = table[(table["statistic"] == statistic) & (table["variant"] == variant)]
            part = part.set_index("matrix").reindex(matrices)
            color, marker = look(variant, present)
            ends = np.array([part["mean"] - part["low"], part["high"] - part["mean"]])
            # Ranges over blocks are no intervals: they are pale, without caps, around hollow marks.
            seeds = (part["over"] == "seeds").any()
            axis.errorbar(np.arange(len(matrices)) + offset, part["mean"], yerr=ends, fmt=marker,
                          color=color, markersize=3.5, lw=1.1 if seeds else 0.6,
                          alpha=1.0 if seeds else 0.6, capsize=1.8 if seeds else 0,
                          fillstyle="full" if seeds else "none", label=variant)  # fmt: skip
        axis.set_xticks(range(len(matrices)), matrices)
        axis.set_title(STATISTICS[statistic])
        axis.set_xlabel("matrix")
        axis.grid(visible=False, axis="x")
    _legend(fig, axes[0])
    return fig


@figure(study=STUDY, name="gradients", title="Gradients relative to the weights, by block")
def gradients(sample: Sample) -> Drawing:
    """Log of gradient norm over weight norm by block, one line for each variant."""
    rows = facts(sample, "relative_gradient_norm", "text")
    table = means(rows, ["layer"], "text")
    return Drawing(
        table,
        _draw_gradients,
        "Gradient of the loss on held-out documents after the same number of training steps, "
        "matrices of a block together; norm gains and biases are left out. "
        f"Shaded: {intervals_said(table, 'documents')}",
        rows,
    )


def _draw_gradients(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(3.6)
    _lines(axis, table, "layer", list(table["variant"].unique()))
    axis.set_xlabel("block")
    axis.set_ylabel("gradient norm / weight norm (log)")
    _legend(fig, axis)
    return fig


@figure(study=STUDY, name="robustness", title="Loss when the text has noise in it")
def robustness(sample: Sample) -> Drawing:
    """Rise of the loss over the share of words changed, one line for each variant."""
    rows = facts(sample, "noisy_loss", "noise", "rate", "text")
    rows = rows.assign(rate=rows["rate"].astype(float))
    clean = rows[rows["rate"] == 0].set_index(["model", "noise", "text"])["value"]
    before = clean.reindex(rows.set_index(["model", "noise", "text"]).index).to_numpy()
    table = means(rows.assign(value=rows["value"] - before), ["noise", "rate"], "text")
    level = rows[rows["rate"] == 0].groupby("variant")["value"].mean()
    table["clean"] = table["variant"].map(level)
    return Drawing(
        table,
        _draw_robustness,
        "Rise of the loss on held-out documents over that on the clean text, whose loss is in the "
        "legend (nats per token). Words: replaced by other words of the same text. Characters: "
        f"two neighbouring letters of a word swapped. Shaded: {intervals_said(table, 'documents')}",
        rows,
    )


def _draw_robustness(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("noise", sort=False))
    fig, axes = style.panels(len(groups), height=2.9)
    present = list(table["variant"].unique())
    named = table.assign(
        variant=table["variant"],
        label=[f"{v} ({c:.2f})" for v, c in zip(table["variant"], table["clean"], strict=True)],
    )
    for axis, (noise, part) in zip(axes, groups, strict=True):
        _lines(axis, part, "rate", present)
        axis.set_title(str(noise))
        axis.set_xlabel(CHANGED.get(str(noise), "share of words changed"))
        axis.set_ylabel("rise of the loss (nats)")
    handles, labels = axes[0].get_legend_handles_labels()
    full = dict(zip(named["variant"], named["label"], strict=True))
    fig.legend(handles, [full[label] for label in labels], loc="outside right upper",
               fontsize=7.5)  # fmt: skip
    return fig
