"""Figure of the norm-ablation study: what linear probes read off the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.report.figures import style
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.norm_ablation.figures.data import FEWEST_SEEDS, STUDY, facts, look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMBEDDING = -1
SELECTIVITY = "selectivity, mean of labels"


@figure(study=STUDY, name="probes", title="What linear probes read off each block")
def probes(sample: Sample) -> Drawing:
    """Accuracy by block for every label, with the control task, one line for each variant."""
    import pandas as pd

    rows = facts(sample, "probe_accuracy", "label", "kind", "half")
    keys = ["variant", "seed", "label", "layer", "kind"]
    by_kind = rows.groupby(keys, sort=False)["value"].mean().unstack("kind")
    gain = by_kind.assign(value=by_kind["task"] - by_kind["control"])["value"]
    selective = gain.groupby(["variant", "seed", "layer"], sort=False).mean().reset_index()
    selective = selective.assign(label=SELECTIVITY, kind="task")
    accuracy = rows.groupby(keys, sort=False)["value"].mean().reset_index()
    table = _over_seeds(pd.concat([accuracy, selective], ignore_index=True))
    seeded = list(table.loc[table["low"].notna(), "variant"].unique())
    shaded = f" Shaded: 95 % t interval over training seeds ({', '.join(seeded)})." * bool(seeded)
    return Drawing(
        table,
        _draw_probes,
        "Balanced accuracy of cross-validated linear probes for labels of tokens, on held-out "
        "documents: solid lines the task, broken lines the control task, a random class for each "
        "token type. Emb.: the stream as it enters the first block. Last panel: task minus "
        f"control.{shaded}",
        rows,
    )


def _over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Mean of each variant, with an interval where it has enough seeds."""
    import pandas as pd

    rows = []
    keys = ["label", "kind", "variant", "layer"]
    for key, part in values.groupby(keys, sort=False):
        mean, low, high = style.interval(part["value"].to_list())
        if len(part) < FEWEST_SEEDS:
            low = high = float("nan")
        rows.append((*key, mean, low, high))
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high"])


def _draw_probes(table: pd.DataFrame) -> Figure:
    labels = list(dict.fromkeys(table["label"]))
    present = list(dict.fromkeys(table["variant"]))
    fig, axes = style.panels(len(labels), columns=2, height=2.0, share_y=False)
    blocks = int(table["layer"].max())
    step = max(1, blocks // 5)
    # Between many blocks there is no room for a 0 beside the embedding.
    ticks = [EMBEDDING, *range(0 if step == 1 else step, blocks + 1, step)]
    for axis, label in zip(axes, labels, strict=True):
        part = table[table["label"] == label]
        for kind in ("control", "task"):
            _lines(axis, part[part["kind"] == kind], present, kind)
        axis.set_title(label)
        axis.set_xticks(ticks, ["emb.", *map(str, ticks[1:])], fontsize=7)
        axis.set_xlabel("block")
        axis.set_ylabel("accuracy" if label != SELECTIVITY else "difference")
    handles, names = axes[-1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right upper", fontsize=7.5)
    return fig


def _lines(axis: Axes, table: pd.DataFrame, present: list[str], kind: str) -> None:
    task = kind == "task"
    for variant, part in table.groupby("variant", sort=False):
        color, marker = look(str(variant), present)
        part = part.sort_values("layer")
        layers = part["layer"].astype(float).to_numpy()
        axis.fill_between(layers, part["low"], part["high"], color=color, alpha=0.2, lw=0)
        axis.plot(layers, part["mean"], color=color, marker=marker if task else "", markersize=3.5,
                  lw=1.2, ls="-" if task else "--", label=str(variant))  # fmt: skip
