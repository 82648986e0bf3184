"""Reductions that claims about weights share: thirds of the depth, and ranks among copies.

Blocks are a model's whole population and copies are counted, so nothing here has a p value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.records import RANKED

if TYPE_CHECKING:
    import xarray as xr


def depth_difference(values: xr.DataArray) -> xr.DataArray:
    """Mean of the last third of the blocks minus mean of the first third.

    Parameters
    ----------
    values : DataArray (layer, ...)
        Three blocks or more.
    """
    third = values.sizes["layer"] // 3
    last = values.isel(layer=slice(-third, None)).mean("layer")
    return last - values.isel(layer=slice(None, third)).mean("layer")


def log_depth_ratio(values: xr.DataArray) -> xr.DataArray:
    """Mean log of positive values in the last third of the blocks minus that in the first third."""
    import numpy as np
    import xarray as xr

    return depth_difference(xr.apply_ufunc(np.log, values))


def depth_correlation(values: xr.DataArray) -> xr.DataArray:
    """Spearman's rank correlation of values with the block's number, as the study judged depth.

    Parameters
    ----------
    values : DataArray (layer, ...)
        Blocks are no sample, so the correlation has no p value.
    """
    import xarray as xr
    from scipy.stats import rankdata

    ranks: xr.DataArray = xr.apply_ufunc(
        rankdata,
        values,
        input_core_dims=[["layer"]],
        output_core_dims=[["layer"]],
        kwargs={"axis": -1},
    )
    depth = xr.ones_like(ranks).cumsum("layer")
    x, y = ranks - ranks.mean("layer"), depth - depth.mean("layer")
    size = (x**2).sum("layer") * (y**2).sum("layer")
    correlation: xr.DataArray = (x * y).sum("layer") / size**0.5
    return correlation


def rank_among(value: xr.DataArray, copies: xr.DataArray) -> xr.DataArray:
    """Rank (1 + b) / (K + 1) of a value among K copies, on either side.

    b copies lie at least as far from the median of all K + 1 values as the value does, so that the
    value is treated as the copies are. With 19 copies the rank is 0.05 when it lies farthest out.
    """
    import xarray as xr

    model_value = value.reset_coords(drop=True).expand_dims("copy")
    others = copies.reset_coords(drop=True).drop_vars("copy", errors="ignore")
    middle = xr.concat([others, model_value.drop_vars("copy", errors="ignore")], "copy").median(
        "copy"
    )
    far = abs(copies - middle) >= abs(value - middle)
    return _counted(far, value, copies, "on either side")


def rank_below(value: xr.DataArray, copies: xr.DataArray) -> xr.DataArray:
    """Rank (1 + b) / (K + 1) of a value predicted below K copies; b lie at or below it."""
    return _counted(copies <= value, value, copies, "smallest first")


def rank_above(value: xr.DataArray, copies: xr.DataArray) -> xr.DataArray:
    """Rank (1 + b) / (K + 1) of a value predicted above K copies; b lie at or above it."""
    return _counted(copies >= value, value, copies, "largest first")


def _counted(
    extreme: xr.DataArray, value: xr.DataArray, copies: xr.DataArray, order: str
) -> xr.DataArray:
    """Rank, with what was ranked as its attribute `RANKED` where that is one number a copy."""
    rank = (1 + extreme.sum("copy")) / (copies.sizes["copy"] + 1)
    # What is not a number has no place in the order.
    rank = rank.where(copies.notnull().all("copy") & value.notnull())
    if value.size == 1 and copies.dims == ("copy",):
        numbers = (float(value), *(float(copy) for copy in copies.values))
        rank.attrs[RANKED] = (order, numbers)
    return rank
