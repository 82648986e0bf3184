"""Labelled arrays that share their labels with others: a run reads thousands of a few shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

_MOST = 256
"""Templates that are kept; with more kinds of arrays the oldest are made again."""


class Templates:
    """Makes labelled arrays out of plain ones, with labels that were made before.

    xarray copies every label and its index where it makes an array out of its parts, which takes
    longer than reading one. Here labels are shared; operations on arrays never change them.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, xr.DataArray] = {}

    def filled(
        self,
        key: Hashable | None,
        make: Callable[[], xr.DataArray],
        values: np.ndarray[Any, np.dtype[Any]],
        name: Hashable,
        attrs: Mapping[Any, Any],
    ) -> xr.DataArray:
        """Return an array of values with the labels that belong to a key.

        Parameters
        ----------
        key
            What decides dims and labels, the shape apart; ``None`` to share nothing.
        make : callable
            Makes an array with these labels, of the shape of `values`, where none is known.
        values : array
            Its values.
        name, attrs
            Its name and what is remarked of it.
        """
        whole = (key, values.shape)
        if key is None or whole not in self._known:
            alike = make()
            if key is not None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                # Without the values of the first.
                nothing = np.broadcast_to(np.zeros((), values.dtype), values.shape)
                self._known[whole] = alike.copy(deep=False, data=nothing)
        else:
            alike = self._known[whole]
        made = alike.copy(deep=False, data=values)
        made.name, made.attrs = name, dict(attrs)
        return made


def labels_key(array: xr.DataArray) -> Hashable | None:
    """Return what tells the dims and labels of an array from those of others.

    ``None`` where labels are objects: only of words of one length do the bytes tell what they are.
    """
    labels = array.coords.variables
    if any(one.dtype.kind == "O" for one in labels.values()):
        return None
    return (
        array.dims,
        *((name, one.dims, one.dtype.str, one.values.tobytes()) for name, one in labels.items()),
    )
