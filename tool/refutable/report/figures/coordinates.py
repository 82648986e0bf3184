"""Coordinates of observations beside layer and head, as columns; labels of log axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axis import Axis


def plain_log_labels(*axes: Axis) -> None:
    """Label a drawn log axis by plain numbers, as no figure sets mathematics."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        if high < 300 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def placed(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return observations with the coordinates in ``at`` (``query=3;key=2``) as text columns.

    Parameters
    ----------
    rows : DataFrame
        Observations of one quantity.
    *names : str
        Coordinates in the order in which they were written.
    """
    import pandas as pd

    parts = rows["at"].str.split(";", expand=True)
    if parts.shape[1] != len(names):
        raise ValueError(f"expected the coordinates {names}, got {rows['at'].iloc[0]!r}")
    columns = {
        name: parts[place].str.removeprefix(f"{name}=").astype(str)
        for place, name in enumerate(names)
    }
    return pd.concat([rows.drop(columns="at"), pd.DataFrame(columns, index=rows.index)], axis=1)


def evenly(values: list[int], most: int) -> list[int]:
    """At most so many of the values, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return values
    step = (len(values) - 1) / (most - 1)
    return [values[round(i * step)] for i in range(most)]
