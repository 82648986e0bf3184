"""Growth of the residual stream from block to block, on the log scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable

if TYPE_CHECKING:
    import xarray as xr


@observable(dims=("prompt", "layer"), unit="log ratio")
def log_growth(residual_norm: xr.DataArray) -> xr.DataArray:
    """Log of the last token's residual norm after block l over that after block l - 1, l >= 1.

    Notes
    -----
    The label of a layer is the block whose output is the numerator. Block 0 has no predecessor:
    its denominator would be the embedding.
    """
    return log_differences(residual_norm)


@observable(dims=("prompt", "layer"), unit="log ratio")
def log_growth_all_tokens(mean_log_residual_norm_rest: xr.DataArray) -> xr.DataArray:
    """Mean over tokens, the first left out, of the log growth of the residual norm by block.

    Notes
    -----
    The first token carries the attention sink, whose norm is of another order.
    """
    later = mean_log_residual_norm_rest.isel(layer=slice(1, None))
    earlier = mean_log_residual_norm_rest.isel(layer=slice(None, -1))
    return later - earlier.assign_coords(layer=later["layer"])


def log_differences(norm: xr.DataArray) -> xr.DataArray:
    """Log ratio of neighbouring layers, labelled by the later one."""
    import numpy as np

    logs = np.log(norm.values)
    made: xr.DataArray = norm.isel(layer=slice(1, None)).copy(
        data=np.diff(logs, axis=norm.dims.index("layer"))
    )
    made.attrs = {}
    return made
