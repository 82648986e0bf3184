"""How far two measurements of the same prompts lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


BOUNDS: Mapping[str, float] = {
    "float64": 1e-6,
    "float32": 1e-3,
    "float16": 1e-2,
    "bfloat16": 5e-2,
}
"""Largest relative difference between a shared and a single run that still counts as equal. In
half precision the two round differently in every layer; a wrong mask is off by the logits
themselves."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest relative difference between two measurements, and where it is."""

    value: float
    """Relative to the range (logits) or the largest magnitude (all else) of the reference."""
    what: str = ""


def compare(
    measured: Mapping[str, xr.DataArray], reference: Mapping[str, xr.DataArray], *, ranged: str = ""
) -> Difference:
    """Find the largest relative difference over all floating-point arrays.

    Parameters
    ----------
    measured, reference : mapping of str to xarray.DataArray
        The same prompts under the same names; prompts may come in another order.
    ranged : str
        The array whose scale is its range and not its largest magnitude (logits, which have no
        natural zero).

    Returns
    -------
    Difference
        Infinite where one of the two has a number and the other has none. Integers (token ids) are
        left out: two tokens of one probability may change places.
    """
    worst = Difference(0.0)
    for name, array in reference.items():
        other = measured[name]
        if "prompt" in array.dims:
            other = other.sel(prompt=array["prompt"].values)
        value = relative_difference(
            np.asarray(other.values), np.asarray(array.values), by_range=name == ranged
        )
        if value > worst.value:
            worst = Difference(value, name)
    return worst


def relative_difference(
    measured: NDArray[np.generic],
    reference: NDArray[np.generic],
    *,
    by_range: bool = False,
) -> float:
    """Return the largest difference of two arrays, relative to the scale of the second."""
    if reference.dtype.kind != "f":
        return 0.0
    if measured.shape != reference.shape:
        return float("inf")
    known = np.isfinite(reference)
    # Where there is no number (padding, masked tokens) both must say so in the same way.
    if not np.array_equal(measured[~known], reference[~known], equal_nan=True):
        return float("inf")
    if not known.any():
        return 0.0
    wanted, got = reference[known].astype(np.float64), measured[known].astype(np.float64)
    if not np.isfinite(got).all():
        return float("inf")
    scale = np.ptp(wanted) if by_range else np.abs(wanted).max()
    gap = float(np.abs(got - wanted).max())
    if gap == 0.0:
        return 0.0
    return gap / float(scale) if scale > 0 else float("inf")
