"""Tables behind the figures: one value for each training run, thought and whatever else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.report.figures import style
from refutable.report.figures.coordinates import placed
from refutable.report.figures.registry import Sample

if TYPE_CHECKING:
    import pandas as pd

STUDY = "thought-tokens"
PERCENT = 100.0


def subject_of(sample: Sample) -> dict[str, str]:
    """Return the name of each model's group of seeds, or its own where it has none."""
    return {
        model.id: (model.facts.group if model.facts is not None else "") or model.id
        for model in sample.models
    }


def by_run(sample: Sample, quantity: str, *names: str) -> pd.DataFrame:
    """Return the rows of a summary: columns subject, model, layer, the coordinates, and value.

    Parameters
    ----------
    sample
        What was measured.
    quantity
        Name of an observable.
    *names
        Its coordinates beside the layer, in order.
    """
    rows = placed(sample.observed(quantity), *names)
    size = {m.id: m.facts.parameters if m.facts is not None else 0 for m in sample.models}
    rows = rows.assign(
        subject=rows["model"].map(subject_of(sample)), size=rows["model"].map(size)
    ).sort_values(["size", "model"], kind="stable")
    return rows[["subject", "model", "layer", *names, "value"]].reset_index(drop=True)


def over_runs(table: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Return mean and 95 % t interval over training runs: columns keys, value, low, high, runs."""
    import pandas as pd

    rows = []
    for key, part in table.groupby(list(keys), dropna=False, sort=False):
        mean, low, high = style.interval(part["value"].to_list())
        rows.append([*(key if isinstance(key, tuple) else (key,)), mean, low, high, len(part)])
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "runs"])
