"""Rows of observations as the labelled arrays that a claim's body returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import ClaimError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray


_OF_PROMPT = ["family", "prompt", "text"]


Coordinate = str | int | float
"""Where along a dimension a value lies."""


def arrays_of(table: pd.DataFrame, column: str) -> xr.DataArray | tuple[xr.DataArray, ...]:
    """Bring rows back into the form in which a body returned them.

    Parameters
    ----------
    table : DataFrame
        One row per value: family, prompt, text, register, quantity, layer, head and ``at``, which
        names the coordinates along all other dims (``position=3;site=out``).
    column : str
        Where the values are.

    Returns
    -------
    DataArray or tuple of DataArray
        One for each quantity: dim ``prompt`` first, with the coordinates ``prompt``, ``family``
        and ``register``. A prompt that lacks a value that others have is left out of all.

    Raises
    ------
    ClaimError
        If no prompt has all values.
    """
    table = table[table["family"].notna()].assign(text=table["text"].fillna(""))
    prompts = table[[*_OF_PROMPT, "register"]].drop_duplicates(_OF_PROMPT)
    row_of = {
        key: i for i, key in enumerate(prompts[_OF_PROMPT].itertuples(index=False, name=None))
    }
    quantities = sorted(table["quantity"].unique(), key=lambda name: (len(str(name)), str(name)))
    filled = [_array(table[table["quantity"] == name], column, row_of) for name in quantities]
    whole = np.logical_and.reduce(
        [np.isfinite(values.reshape(len(row_of), -1)).all(axis=1) for values, _ in filled]
    )
    if not whole.any():
        raise ClaimError("no prompt has a value at every place")
    labels = {
        name: ("prompt", prompts[name].astype(object).to_numpy()[whole])
        for name in ("prompt", "family", "register")
        if prompts[name].notna().all()
    }
    arrays = tuple(_labelled(values[whole], coordinates, labels) for values, coordinates in filled)
    return arrays if len(arrays) > 1 else arrays[0]


def _array(
    table: pd.DataFrame, column: str, row_of: dict[tuple[object, ...], int]
) -> tuple[NDArray[np.float64], dict[str, list[Coordinate]]]:
    """Values (prompt, ...) of one quantity, NaN where there is none; coordinates along each dim."""
    dims = _coordinates(table)
    rows = [row_of[key] for key in table[_OF_PROMPT].itertuples(index=False, name=None)]
    coordinates = {name: _ordered(values) for name, values in dims.items()}
    index = [
        [{value: i for i, value in enumerate(coordinates[name])}[value] for value in values]
        for name, values in dims.items()
    ]
    values = np.full((len(row_of), *(len(p) for p in coordinates.values())), np.nan)
    values[(rows, *index)] = table[column].to_numpy(dtype=float)
    return values, coordinates


def _coordinates(table: pd.DataFrame) -> dict[str, list[Coordinate]]:
    """Coordinate of each row along each dim but the prompt's."""
    coordinates: dict[str, list[Coordinate]] = {
        name: table[name].astype(object).tolist()
        for name in ("layer", "head")
        if table[name].notna().all()
    }
    if not table["at"].notna().all():
        return coordinates
    parts = [dict(part.partition("=")[::2] for part in str(at).split(";")) for at in table["at"]]
    for name in parts[0]:
        coordinates[name] = [part.get(name, "") for part in parts]
    return coordinates


def _ordered(values: list[Coordinate]) -> list[Coordinate]:
    """Different coordinates, in the order of their numbers where they are numbers."""
    different = list(dict.fromkeys(values))
    try:
        return sorted(different, key=float)
    except (TypeError, ValueError):
        return different


def _labelled(
    values: NDArray[np.float64],
    coordinates: dict[str, list[Coordinate]],
    labels: Mapping[str, tuple[str, NDArray[np.generic]]],
) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(values, dims=("prompt", *coordinates), coords={**labels, **coordinates})
