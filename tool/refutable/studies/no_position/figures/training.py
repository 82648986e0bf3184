"""Loss curves of the no-position study: the published recipe, and the faulty schedule."""

from __future__ import annotations

import math
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
CHANCE = math.log(299)
BAG = math.lgamma(50) / 49
"""Loss of guessing uniformly among the t tokens before position t, mean over t = 1..49."""
FEWEST_SEEDS = 4
"""Seeds below which a band would be wider than the picture."""

EVERY = 20
"""Steps between the points of a drawn curve."""


@figure(study=STUDY, name="loss-curve", title="Loss against training step, and as published")
def loss_curve(sample: Sample) -> Drawing:
    """Training loss of each seed with the published points and a prediction band."""
    import pandas as pd

    source = sample.observed("training_loss")
    losses = _by_step(source)
    published = reference("no_position", "loss", "published")
    known = pd.DataFrame({"step": np.arange(len(published)) * 100, "published": published})
    low, high = _band(losses, known["step"].to_numpy())
    known["low"], known["high"] = low, high
    table = losses[losses["step"] % EVERY == 0].merge(known, on="step", how="left")
    return Drawing(
        table,
        _draw_curve,
        "Lines: training loss of each seed in nats, every 20th step. Circles: published run. "
        "Shaded: 95 % prediction band for one further run, from the spread of the seeds on the "
        "log scale, simultaneous over the published steps (Bonferroni). Dotted: chance, ln 299, "
        "and guessing among the preceding tokens.",
        source,
    )


def _by_step(rows: pd.DataFrame) -> pd.DataFrame:
    table = placed(rows, "step")[["model", "step", "value"]]
    return table.assign(step=table["step"].astype(int)).rename(columns={"value": "loss"})


def _band(losses: pd.DataFrame, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction limits for the log loss of one further run at all steps at once."""
    from scipy import stats

    wide = losses[losses["step"].isin(steps)].pivot_table(
        index="step", columns="model", values="loss"
    )
    logs = np.log(wide.reindex(steps).to_numpy())
    n = logs.shape[1]
    if n < FEWEST_SEEDS:
        empty = np.full(len(steps), np.nan)
        return empty, empty
    reach = stats.t.ppf(1 - 0.025 / len(steps), n - 1) * np.sqrt(1 + 1 / n)
    mean, sd = logs.mean(axis=1), logs.std(axis=1, ddof=1)
    return np.exp(mean - reach * sd), np.exp(mean + reach * sd)


def _draw_curve(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(4.2)
    known = table.dropna(subset=["published"]).drop_duplicates("step").sort_values("step")
    if known["low"].notna().all():
        axis.fill_between(
            known["step"], known["low"], known["high"], color=style.SKY, alpha=0.35, lw=0,
            label="prediction band from the seeds",
        )  # fmt: skip
    for place, (model, part) in enumerate(table.groupby("model", sort=False)):
        label = "training seeds" if place == 0 else None
        axis.plot(part["step"], part["loss"], color=style.BLUE, lw=0.8, label=label, gid=str(model))
    axis.plot(known["step"], known["published"], "o", color=style.INK, markersize=4,
              markerfacecolor="none", label="published run")  # fmt: skip
    for level, name in ((CHANCE, "chance"), (BAG, "guess among preceding tokens")):
        axis.axhline(level, color=style.MUTED, linestyle=":", linewidth=1.2)
        axis.text(table["step"].max(), level * 1.04, name, ha="right", va="bottom",
                  fontsize=8, color=style.MUTED)  # fmt: skip
    axis.set_yscale("log")
    plain_log_labels(axis.yaxis)
    axis.set_xlabel("training step")
    axis.set_ylabel("loss (nats, log scale)")
    axis.legend(loc="lower left")
    return fig


@figure(study=STUDY, name="schedules", title="Warm-up to a constant rate against a rate that grows")
def schedules(sample: Sample) -> Drawing:
    """Loss of the same seeds under min(step / 100, 1) and max(step / 100, 1)."""
    import pandas as pd

    faulty = sample.observed("growing_rate_training_loss")
    right = _by_step(sample.observed("constant_rate_training_loss"))
    wrong = _by_step(faulty)
    last = int(wrong["step"].max())
    table = pd.concat(
        [
            right[right["step"] <= last].assign(schedule="min(step / 100, 1)"),
            wrong.assign(schedule="max(step / 100, 1)"),
        ]
    )
    if table.empty:
        raise MissingDataError("no seed was trained under both schedules")
    return Drawing(
        table,
        _draw_schedules,
        "Training loss of every step, one line for each seed. Both panels start from the same "
        "initialisations and read the same batches; only the factor on the learning rate differs.",
        faulty,
    )


def _draw_schedules(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("schedule", sort=False))
    fig, axes = style.panels(len(groups), height=3.0)
    for axis, (schedule, part) in zip(axes, groups, strict=True):
        for (_, seed), (color, _) in zip(
            part.groupby("model", sort=False), style.GROUPS, strict=False
        ):
            axis.plot(seed["step"], seed["loss"], color=color, lw=0.5, rasterized=True)
        axis.set_yscale("log")
        plain_log_labels(axis.yaxis)
        axis.set_title(f"factor {schedule}")
        axis.set_xlabel("training step")
        axis.set_ylabel("loss (nats, log scale)")
    return fig
