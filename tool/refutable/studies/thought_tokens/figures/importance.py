"""Importance of thoughts, accuracy by number of thoughts, and steering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.thought_tokens.figures.data import PERCENT, STUDY, by_run, over_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure(study=STUDY, name="importance", title="Importance of each thought")
def importance(sample: Sample) -> Drawing:
    """Points of nats lost by thought, with later thoughts recomputed and kept."""
    table = by_run(sample, "mean_thought_importance", "later", "measure", "thought")
    table = table[table["measure"] == "log-probability"]
    table = table.assign(what="later thoughts " + table["later"])
    table = over_runs(table, "subject", "what", "thought")
    return Drawing(
        table,
        _draw_importance,
        "Nats of log-probability that the right answer loses when a thought is another problem's, "
        "mean over problems. Of written steps nothing follows, so both are the same. Whiskers: "
        "95 % t intervals over training runs, where there are several.",
        sample.observed("mean_thought_importance"),
    )


def _draw_importance(table: pd.DataFrame) -> Figure:
    subjects = list(dict.fromkeys(table["subject"]))
    kinds = list(dict.fromkeys(table["what"]))
    fig, axes = style.panels(len(subjects), height=2.6)
    for axis, subject in zip(axes, subjects, strict=True):
        for place, kind in enumerate(kinds):
            part = table[(table["subject"] == subject) & (table["what"] == kind)]
            color, marker = style.GROUPS[place]
            x = part["thought"].astype(float) + 0.12 * place
            for at, row in zip(x, part.itertuples(), strict=True):
                axis.errorbar(
                    at, row.value, style.whiskers(row.value, row.low, row.high), color=color,
                    capsize=2,
                )  # fmt: skip
            axis.scatter(x, part["value"], color=color, marker=marker, label=kind, zorder=3)
        axis.axhline(0, color=style.MUTED, linewidth=1)
        axis.set_xticks(range(6), [f"t{number}" for number in range(6)])
        axis.set_title(subject)
        axis.set_xlabel("thought")
        axis.set_ylabel("nats lost")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return fig


@figure(study=STUDY, name="accuracy", title="Right answers by number of thoughts")
def accuracy(sample: Sample) -> Drawing:
    """Accuracy of every training run against the number of thoughts."""
    table = by_run(sample, "mean_answers_by_thoughts", "thoughts", "measure")
    table = table[table["measure"] == "accuracy"].drop(columns=["measure", "layer"])
    table["value"] *= PERCENT
    return Drawing(
        table,
        _draw_accuracy,
        "Share of problems answered right when the answer follows after so many thoughts; a thin "
        "line for each training run, a thick one for their mean. Written steps: all or none.",
        sample.observed("mean_answers_by_thoughts"),
    )


def _draw_accuracy(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(3.4)
    for place, subject in enumerate(dict.fromkeys(table["subject"])):
        part = table[table["subject"] == subject]
        color, marker = style.GROUPS[place]
        grid = part.pivot(index="thoughts", columns="model", values="value")
        x = grid.index.astype(float)
        axis.plot(x, grid.to_numpy(), color=color, linewidth=0.5, alpha=0.5)
        axis.plot(x, grid.mean(axis=1), color=color, marker=marker, linewidth=2, label=subject)
    axis.set_ylim(0, 103)
    axis.set_xlabel("number of thoughts before the answer")
    axis.set_ylabel("right answers (per cent)")
    axis.legend(loc="best")
    return fig


@figure(study=STUDY, name="steering", title="Steering by one thought")
def steering(sample: Sample) -> Drawing:
    """Shares of answers by outcome and thought, later thoughts recomputed."""
    table = by_run(sample, "mean_thought_steering", "later", "outcome", "thought")
    table = over_runs(table, "subject", "later", "outcome", "thought")
    table[["value", "low", "high"]] *= PERCENT
    return Drawing(
        table,
        _draw_steering,
        "What is answered when one thought is another problem's: that problem's answer, its value "
        "after that slot taken on through the own later slots, or the own answer, as share of the "
        "problems; those in which two of these "
        "agree count for both. Guessing gives 9 per cent. Whiskers: 95 % t intervals over training "
        "runs.",
        sample.observed("mean_thought_steering"),
    )


def _draw_steering(table: pd.DataFrame) -> Figure:
    subjects = list(dict.fromkeys(table["subject"]))
    modes = list(dict.fromkeys(table["later"]))
    outcomes = list(dict.fromkeys(table["outcome"]))
    fig, axes = style.panels(len(subjects) * len(modes), height=2.3)
    cells = [(subject, mode) for subject in subjects for mode in modes]
    for axis, (subject, mode) in zip(axes, cells, strict=True):
        part = table[(table["subject"] == subject) & (table["later"] == mode)]
        for place, outcome in enumerate(outcomes):
            line = part[part["outcome"] == outcome]
            color, marker = style.GROUPS[place]
            x = np.arange(len(line)) + 0.1 * place
            for at, row in zip(x, line.itertuples(), strict=True):
                axis.errorbar(
                    at, row.value, style.whiskers(row.value, row.low, row.high), color=color,
                    capsize=2,
                )  # fmt: skip
            axis.plot(x, line["value"], color=color, marker=marker, label=outcome)
        axis.set_xticks(range(6), [f"t{number}" for number in range(6)])
        axis.set_ylim(-2, 110)
        axis.set_title(f"{subject}, later thoughts {mode}")
        axis.set_ylabel("answers (per cent)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return fig
