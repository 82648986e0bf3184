"""Labelled arrays such as bodies of claims return."""

from __future__ import annotations

import numpy as np
import xarray as xr


def labelled(values, families, size, **remarks):
    """Values in the order of families, `size` prompts each."""
    family = np.repeat([f"f{i}" for i in range(families)], size)
    coords = {
        "prompt": [f"{name}/{i % size}" for i, name in enumerate(family)],
        "family": ("prompt", family),
        **{key: ("prompt", np.asarray(mark)) for key, mark in remarks.items()},
    }
    values = np.asarray(values)
    dims = ("prompt", "layer")[: values.ndim]
    return xr.DataArray(values, dims=dims, coords=coords)


def noise(seed, n):
    """Return `n` draws of the standard normal distribution."""
    return np.random.default_rng(seed).normal(size=n)
