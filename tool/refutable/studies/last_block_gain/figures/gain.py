"""Figures of the last-block-gain study: the gain by model, register and entropy, and its depth.

The gain of a prompt is g = |h_L| / |h_(L-1)|: Euclidean norms of the last token's residual stream
after the last and the last-but-one block. Intervals are 95 % t intervals over family means.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.report.figures import style
from refutable.report.figures.references import Reference, gain_references, short
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STUDY = "last-block-gain"
GAIN = "gain |h_L| / |h_(L-1)| (ratio)"
BRIEF = "gain (ratio)"
PYTHIA = "EleutherAI/pythia-6.9b"
MANY = 300
"""Prompts x models above which single points go into an SVG as pixels, to keep it small."""

KEYS = ["model", "prompt", "family", "register"]


def gains(sample: Sample) -> pd.DataFrame:
    """Return one row for each model and prompt: its gain ``g``, family and register."""
    norms = sample.one_seed(sample.observed("residual_norm"))
    last = norms.groupby("model", observed=True)["layer"].transform("max")
    keyed = norms[["model", "prompt", "family", "register", "value"]]
    after = keyed[(norms["layer"] == last).to_numpy()]
    before = keyed[(norms["layer"] == last - 1).to_numpy()]
    both = after.merge(
        before[["model", "prompt", "value"]], on=["model", "prompt"], suffixes=("", "_before")
    )
    if both.empty:
        raise MissingDataError("no model has the norms of its last two blocks")
    both["g"] = both["value"] / both["value_before"]
    order = {model.id: place for place, model in enumerate(sample.models)}
    both["register"] = both["register"].replace("", None)
    both["norm"] = both["model"].map(sample.norm_kind)
    both = both.sort_values("model", key=lambda m: m.map(order), kind="stable")
    return both[[*KEYS, "norm", "g"]].reset_index(drop=True)


def model_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean gain over families with its interval, one row for each model."""
    import pandas as pd

    rows = []
    for model, part in table.groupby("model", sort=False):
        mean, low, high = style.interval(part.groupby("family")["g"].mean().to_list())
        rows.append((model, part["norm"].iloc[0], "measured", mean, low, high))
    return pd.DataFrame(rows, columns=["model", "norm", "origin", "mean", "low", "high"])


@figure(
    study=STUDY, name="gain-histogram", title="How much the last block grows the residual stream"
)
def gain_histogram(sample: Sample) -> Drawing:
    """Histogram of the gain for each model."""
    table = gains(sample)
    reference = next((r for r in gain_references() if r.model == PYTHIA), None)
    table["pythia"] = reference.value if reference else np.nan
    return Drawing(
        table,
        _draw_histogram,
        "Each panel counts the prompts of one model by gain. Above the bars: mean over families "
        "with its 95 % t interval. Solid line: a gain of 1, no change of size. Dotted line: the "
        "value published for Pythia-6.9B.",
        table,
    )


def _draw_histogram(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=1.9, share_y=True)
    low, high = table["g"].min(), table["g"].max()
    reference = table["pythia"].iloc[0]
    edges = np.linspace(low, high if high > low else low + 0.1, 25)
    for axis, (model, part) in zip(axes, groups, strict=True):
        color, hatch = style.NORMS[part["norm"].iloc[0]]
        axis.hist(part["g"], bins=edges.tolist(), color=color, alpha=0.75, hatch=hatch,
                  edgecolor=style.PAPER, linewidth=0.4)  # fmt: skip
        _unity(axis, vertical=True)
        if not np.isnan(reference):
            axis.axvline(reference, color=style.INK, linestyle=":", linewidth=1.4)
        mean, left, right = style.interval(part.groupby("family")["g"].mean().to_list())
        axis.errorbar(mean, 1.06, xerr=style.whiskers(mean, left, right), fmt="D", markersize=4,
                      color=style.INK, capsize=3, clip_on=False,
                      transform=axis.get_xaxis_transform())  # fmt: skip
        axis.set_title(f"{short(model)} ({part['norm'].iloc[0]})", pad=14)
        axis.set_xlabel(GAIN)
        axis.set_ylabel("prompts")
    return fig


@figure(study=STUDY, name="entropy-gain", title="Entropy of the next token against the gain")
def entropy_gain(sample: Sample) -> Drawing:
    """Scatter of entropy and gain for each model."""
    entropy = sample.observed("next_token_entropy")[["model", "prompt", "value"]]
    table = gains(sample).merge(
        entropy.rename(columns={"value": "entropy"}), on=["model", "prompt"]
    )
    if table.empty:
        raise MissingDataError("entropy and norms were measured on different prompts")
    return Drawing(
        table,
        _draw_scatter,
        "Small marks are prompts, large ones family means; each register has its marker. The "
        "cross spans the 95 % t intervals of both means over families.",
        table,
    )


def _draw_scatter(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    fig, axes = style.panels(len(groups), height=2.6)
    looks = _looks(table)
    for axis, (model, rows) in zip(axes, groups, strict=True):
        for name, (color, marker) in looks.items():
            part = rows[rows["register"].fillna("") == name]
            means = part.groupby("family")[["entropy", "g"]].mean()
            axis.scatter(
                part["entropy"],
                part["g"],
                s=9,
                c=color,
                marker=marker,
                alpha=0.4,
                lw=0,
                rasterized=len(table) > MANY,
            )
            axis.scatter(means["entropy"], means["g"], s=38, c=color, marker=marker, zorder=3,
                         edgecolors=style.INK, linewidths=0.7, label=name or "other")  # fmt: skip
        means = rows.groupby("family")[["entropy", "g"]].mean()
        x, left, right = style.interval(means["entropy"].to_list())
        y, low, high = style.interval(means["g"].to_list())
        axis.errorbar(x, y, xerr=style.whiskers(x, left, right), yerr=style.whiskers(y, low, high),
                      color=style.INK, capsize=3, zorder=4)  # fmt: skip
        _unity(axis, vertical=False)
        axis.set_title(f"{short(model)} ({rows['norm'].iloc[0]})")
        axis.set_xlabel("entropy of the next token (nats)")
        axis.set_ylabel(BRIEF)
    if list(looks) != [""]:
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return fig


@figure(study=STUDY, name="gain-by-register", title="The gain by register and model")
def gain_by_register(sample: Sample) -> Drawing:
    """Box plot of the gain by register for each model."""
    table = gains(sample).dropna(subset=["register"])
    if table.empty:
        raise MissingDataError("these prompts have no registers")
    return Drawing(
        table,
        _draw_registers,
        "Boxes hold the middle half of a register's prompts, whiskers reach the outermost within "
        "1.5 box lengths. Diamond: mean over the register's families with its 95 % t interval, "
        "which one family alone does not have.",
        table,
    )


def _draw_registers(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("model", sort=False))
    names = list(dict.fromkeys(table["register"]))
    fig, axes = style.panels(len(groups), height=2.5)
    looks = _looks(table)
    for axis, (model, rows) in zip(axes, groups, strict=True):
        parts = [rows.loc[rows["register"] == name, "g"].to_numpy() for name in names]
        ink = {"color": style.INK}
        fliers = {"markersize": 3, "markeredgecolor": style.INK}
        boxes = axis.boxplot(parts, widths=0.6, patch_artist=True, medianprops=ink, capprops=ink,
                             whiskerprops=ink, flierprops=fliers)  # fmt: skip
        for box, name in zip(boxes["boxes"], names, strict=True):
            box.set(facecolor=looks[name][0], alpha=0.55, edgecolor=style.INK)
        for place, name in enumerate(names, start=1):
            part = rows[rows["register"] == name]
            if part.empty:
                continue
            mean, low, high = style.interval(part.groupby("family")["g"].mean().to_list())
            axis.errorbar(place, mean, yerr=style.whiskers(mean, low, high), fmt="D", capsize=3,
                          markersize=4, color=style.INK, markerfacecolor=style.PAPER)  # fmt: skip
        _unity(axis, vertical=False)
        axis.set_xticks(range(1, len(names) + 1), names, rotation=20, ha="right")
        axis.grid(visible=False, axis="x")
        axis.set_title(f"{short(model)} ({rows['norm'].iloc[0]})")
        axis.set_ylabel(BRIEF)
    return fig


@figure(
    study=STUDY, name="gain-means", title="Mean gain of the last block, with references", once=True
)
def gain_means(sample: Sample) -> Drawing:
    """Bars of the mean gain over models, with published values."""
    import pandas as pd

    source = gains(sample)
    measured = model_means(source)
    known = {short(model) for model in measured["model"]}
    others = [r for r in gain_references() if short(r.model) not in known]
    table = pd.concat([measured, _as_rows(others)], ignore_index=True)
    table["reported"] = table["model"].map(short).map(_reported(known))
    return Drawing(
        table,
        _draw_means,
        "Solid bars: mean over families, measured in this run, with its 95 % t interval. Pale "
        "bars: published values, which come without an interval over families. Diamonds: what "
        "the study reported for a model measured here. Line: a gain of 1.",
        source,
    )


def _as_rows(references: list[Reference]) -> pd.DataFrame:
    import pandas as pd

    rows = [(r.model, r.norm, "published", r.value, np.nan, np.nan) for r in references]
    return pd.DataFrame(rows, columns=["model", "norm", "origin", "mean", "low", "high"])


def _reported(known: set[str]) -> Mapping[str, float]:
    return {short(r.model): r.value for r in gain_references() if short(r.model) in known}


def _draw_means(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(4.0)
    for place, row in enumerate(table.to_dict("records")):
        axis.bar(place, row["mean"], width=0.7, **_look(row))
        if row["origin"] == "measured":
            axis.errorbar(place, row["mean"], capsize=4, color=style.INK,
                          yerr=style.whiskers(row["mean"], row["low"], row["high"]))  # fmt: skip
        if not np.isnan(row["reported"]):
            axis.plot(place + 0.22, row["reported"], "D", color=style.INK, markersize=5,
                      markerfacecolor=style.PAPER)  # fmt: skip
        top = max(x for x in (row["mean"], row["high"], row["reported"]) if not np.isnan(x))
        axis.annotate(f"{row['mean']:.2f}", (place, top), xytext=(0, 4), ha="center",
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axis.set_xticks(range(len(table)), table["model"].map(short), rotation=25, ha="right")
    axis.set_ylabel(f"mean {BRIEF}")
    axis.grid(visible=False, axis="x")
    axis.margins(y=0.1)
    _unity(axis, vertical=False)
    _norm_legend(axis, table)
    return fig


@figure(
    study=STUDY,
    name="norm-kinds",
    title="Models sorted by gain: LayerNorm against RMSNorm",
    once=True,
)
def norm_kinds(sample: Sample) -> Drawing:
    """Sorted bars of the mean gain, from 1 outwards."""
    import pandas as pd

    source = gains(sample)
    measured = model_means(source)
    known = {short(model) for model in measured["model"]}
    others = _as_rows([r for r in gain_references() if short(r.model) not in known])
    table = pd.concat([measured, others], ignore_index=True).sort_values("mean")
    return Drawing(
        table.reset_index(drop=True),
        _draw_sorted,
        "Bars start at a gain of 1: to the left the last block shrinks the residual stream, to "
        "the right it grows it. If the kind of norm fixed the direction, the two kinds would "
        "part at 1. Pale bars are published values without an interval.",
        source,
    )


def _draw_sorted(table: pd.DataFrame) -> Figure:
    fig, axis = style.single(1.3 + 0.33 * len(table))
    for place, row in enumerate(table.to_dict("records")):
        axis.barh(place, row["mean"] - 1, left=1, height=0.66, **_look(row))
        if row["origin"] == "measured":
            axis.errorbar(row["mean"], place, capsize=3, color=style.INK,
                          xerr=style.whiskers(row["mean"], row["low"], row["high"]))  # fmt: skip
    axis.set_yticks(range(len(table)), table["model"].map(short))
    axis.set_xlabel(f"mean {GAIN}")
    axis.grid(visible=False, axis="y")
    _unity(axis, vertical=True)
    _norm_legend(axis, table)
    return fig


def _unity(axis: Axes, *, vertical: bool) -> None:
    line = axis.axvline if vertical else axis.axhline
    line(1.0, color=style.INK, linewidth=1)


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return style.register_looks(list(dict.fromkeys(table["register"].fillna(""))))


def _look(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    color, hatch = style.NORMS[row["norm"]]
    alpha = 0.85 if row["origin"] == "measured" else 0.35
    return {"facecolor": color, "hatch": hatch, "alpha": alpha, "edgecolor": style.INK, "lw": 0.8}


def _norm_legend(axis: Axes, table: pd.DataFrame) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(label=str(kind), **_look({"norm": kind, "origin": "measured"}))
        for kind in dict.fromkeys(table["norm"])
    ]
    if (table["origin"] == "published").any():
        pale = "pale: published, not measured here"
        handles.append(Patch(facecolor=style.GRID, edgecolor=style.INK, alpha=0.5, label=pale))
    axis.legend(handles=handles, title="kind of norm", alignment="left", loc="best")
