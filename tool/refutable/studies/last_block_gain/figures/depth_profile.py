"""Depth profile of the last-block-gain study: is the last block special, or is every block so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.references import short
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ProfileRow = tuple[object, str, int, float, float, float]
"""Model, ``model`` or ``control``, block, mean, lower and upper end."""


@figure(
    study="last-block-gain",
    name="depth-profile",
    title="Growth of the residual stream, block by block",
)
def depth_profile(sample: Sample) -> Drawing:
    """Mean log growth of every block with its interval, untrained controls beside it."""
    import pandas as pd

    norms = sample.one_seed(sample.observed("residual_norm"))
    rows = list(_profile(norms, "model"))
    with suppress(MissingDataError):
        rows += _control_profile(sample.observed("residual_norm", controls=True))
    if not rows:
        raise MissingDataError("no model has the norms of two blocks")
    table = pd.DataFrame(rows, columns=["model", "whose", "block", "mean", "low", "high"])
    table["norm"] = table["model"].map(sample.norm_kind)
    controls = (table["whose"] == "control").any()
    return Drawing(
        table,
        _draw_profile,
        "Natural log of |h_l| / |h_(l-1)| at the last token, mean over families; shaded: 95 % t "
        "interval over families. The last block is marked."
        + (" Grey band: range of the means of the untrained controls." if controls else ""),
        norms,
    )


def _growth(norms: pd.DataFrame) -> pd.DataFrame:
    """Log growth of every block, one column for each block, one row for each prompt."""
    wide = norms.pivot_table(index=["family", "prompt"], columns="layer", values="value")
    return wide.apply(np.log).diff(axis=1).iloc[:, 1:]


def _profile(norms: pd.DataFrame, whose: str) -> Iterator[ProfileRow]:
    for model, part in norms.groupby("model", sort=False):
        families = _growth(part).groupby(level="family").mean()
        for block in families.columns:
            yield (model, whose, int(block), *style.interval(families[block].to_list()))


def _control_profile(norms: pd.DataFrame) -> Iterator[ProfileRow]:
    for model, part in norms.groupby("model", sort=False):
        seeds = [
            _growth(one).groupby(level="family").mean().mean() for _, one in part.groupby("control")
        ]
        for block in seeds[0].index:
            means = [float(seed[block]) for seed in seeds]
            yield model, "control", int(block), float(np.mean(means)), min(means), max(means)


def _draw_profile(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.5)
    for axis, (model, both) in zip(axes, groups, strict=True):
        part = both[both["whose"] == "model"]
        null = both[both["whose"] == "control"]
        color, _ = style.NORMS[both["norm"].iloc[0]]
        axis.fill_between(null["block"], null["low"], null["high"], color=style.MUTED, alpha=0.35,
                          lw=0, label="untrained controls")  # fmt: skip
        axis.fill_between(part["block"], part["low"], part["high"], color=color, alpha=0.3, lw=0)
        axis.plot(part["block"], part["mean"], color=color, marker=".")
        axis.plot(part["block"].iloc[-1], part["mean"].iloc[-1], "o", color=style.INK, markersize=7,
                  markerfacecolor="none")  # fmt: skip
        axis.axhline(0, color=style.INK, linewidth=1)
        if len(null):
            axis.legend(loc="best")
        axis.set_title(f"{short(model)} ({both['norm'].iloc[0]})")
        axis.set_xlabel("block")
        axis.set_ylabel("growth (log ratio)")
    return fig
