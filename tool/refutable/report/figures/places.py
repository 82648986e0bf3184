"""Coordinates of observations beside layer and head, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


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
