"""Observations of weights as tables: facts of models, with their coordinates as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.report.figures.coordinates import placed
from refutable.report.figures.registry import MissingDataError, Sample

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axis import Axis

STUDY = "gpt2-weights"
MOST_PANELS = 12


def facts(sample: Sample, quantity: str, *names: str) -> pd.DataFrame:
    """Return one quantity with its coordinates as columns, in the order of the models.

    Parameters
    ----------
    sample : Sample
        What the study measured.
    quantity : str
        Name of the observable.
    *names : str
        Its coordinates beside layer and head; whole or decimal numbers become numbers.

    Raises
    ------
    MissingDataError
        If no model has it.
    """
    import pandas as pd

    rows = sample.observed(quantity)
    table = placed(rows, *names) if names else rows
    for name in names:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.notna().all():
            table[name] = numbers
    order = {model.id: place for place, model in enumerate(sample.models)}
    columns = ["model", "prompt", "family", "layer", "head", *names, "value"]
    return (
        table[columns]
        .sort_values("model", key=lambda m: m.map(order), kind="stable")
        .reset_index(drop=True)
    )


def largest(sample: Sample, table: pd.DataFrame, most: int = 2) -> pd.DataFrame:
    """Keep the rows of the models with most parameters, for figures of many panels a model."""
    present = set(table["model"])
    size = {m.id: m.facts.parameters if m.facts else 0 for m in sample.models if m.id in present}
    kept = sorted(size, key=lambda name: -size[name])[:most]
    if not kept:
        raise MissingDataError("no model of the run has this")
    chosen = table[table["model"].isin(kept)]
    return chosen.reset_index(drop=True)


def plain(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: the common style has no math text."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axis.get_view_interval()
    narrow = low > 0 and high / low < 30
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:.1g}") if narrow else NullFormatter()
    )
    axis.set_tick_params(which="minor", labelsize=7)
