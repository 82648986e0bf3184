"""Labels the arrays that observables of weights leave; loads neither torch nor xarray by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike


def labelled(values: ArrayLike, **coordinates: Iterable[str | int | float]) -> xr.DataArray:
    """Label an array with one coordinate per dimension, in order."""
    import numpy as np
    import xarray as xr

    coords = {name: np.asarray(list(labels)) for name, labels in coordinates.items()}
    return xr.DataArray(np.asarray(values, dtype=float), dims=tuple(coords), coords=coords)
