"""Registers functions of a weight reader as observables; loads neither torch nor xarray."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from refutable.errors import ClaimError
from refutable.observables.registry import REGISTRY, Observable

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.weights.reading import WeightReader

    Measure = Callable[[WeightReader], xr.DataArray]


def weight_observable(
    *,
    dims: tuple[str, ...],
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    of_config: bool = False,
) -> Callable[[Measure], Measure]:
    """Register a function of weights as an observable that needs no forward pass.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the array it returns; no ``prompt``.
    unit : str
        Unit of the values.
    version : int
        Raise it when the numbers change.
    recorded_with : str
        An observable that figures show this one beside; it is then recorded with it.
    of_config : bool
        Whether it follows from the config alone: models of one config then share it.

    Returns
    -------
    callable
        A decorator that leaves the function ``f(weights) -> DataArray`` as it is.
    """

    def register(function: Measure) -> Measure:
        lines = (inspect.getdoc(function) or "").splitlines()
        if not lines:
            raise ClaimError(
                f"observable {function.__name__!r} has no docstring: say in one line what it is"
            )
        REGISTRY.add(
            Observable(
                name=function.__name__,
                description=lines[0],
                dims=dims,
                unit=unit,
                version=version,
                per_prompt=False,
                weights=function,
                recorded_with=recorded_with,
                of_config=of_config,
            )
        )
        return function

    return register


def labelled(values: Any, **coordinates: Any) -> xr.DataArray:
    """Label an array with one coordinate per dimension, in order."""
    import numpy as np
    import xarray as xr

    coords = {name: np.asarray(list(labels)) for name, labels in coordinates.items()}
    return xr.DataArray(np.asarray(values, dtype=float), dims=tuple(coords), coords=coords)
