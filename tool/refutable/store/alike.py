"""Labelled arrays that share their labels with others: a run reads thousands of a few shapes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def filled(
    alike: xr.DataArray,
    values: np.ndarray[Any, np.dtype[Any]],
    name: Hashable,
    attrs: Mapping[Any, Any],
) -> xr.DataArray:
    """Return an array with the dims and labels of another and values of its own.

    xarray copies every label and its index where it makes an array out of its parts, which takes
    longer than reading one. Here labels are shared; operations on arrays never change them.

    Parameters
    ----------
    alike : xarray.DataArray
        Of the same shape.
    values : array
        Its values.
    name, attrs
        Its name and what is remarked of it.
    """
    made = alike.copy(deep=False, data=values)
    made.name, made.attrs = name, dict(attrs)
    return made
