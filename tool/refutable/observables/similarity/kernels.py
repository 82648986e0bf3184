"""How a model's prompts resemble each other: what the alignment of two models is computed from.

Alignment compares two models, and a claim over training seeds compares many pairs of them. So each
model leaves the resemblances of its prompts, from which any two models can be aligned later.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from refutable.observables.registry import observable
from refutable.observables.similarity.alignment import draws, last_residuals, some, u_centred

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

    Floats = NDArray[np.float64]


@observable(
    source="model", dims=("draw", "layer", "pair"), per_prompt=True, unit="", in_store_only=True
)
def representation_kernel(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Inner products of the residual stream of each pair of prompts, after each block.

    Notes
    -----
    The residual stream at the last token, before the final norm, less its mean over prompts. One
    prompt of each family, at most four draws of them, no prompt twice. ``pair`` runs over the pairs
    of families, (0, 1), (0, 2), ..., (1, 2), ...; products of a prompt with itself are left out,
    because the unbiased alignment does not use them. Each draw and block is scaled to a mean square
    of 1, which changes no alignment.
    """
    import xarray as xr

    encoded = some(encoded, sorted(place for taken in draws(encoded.families) for place in taken))
    vectors = last_residuals(loaded, encoded)
    taken = [vectors[rows].swapaxes(0, 1) for rows in draws(encoded.families)]
    products = np.stack([_products(layers) for layers in taken])
    return xr.DataArray(products.astype(np.float32), dims=("draw", "layer", "pair"))


def _products(layers: Floats) -> Floats:
    """Inner products of pairs of rows, ``(layer, pair)``, of arrays ``(layer, row, dim)``."""
    centred = layers - layers.mean(axis=1, keepdims=True)
    kernels = centred @ centred.swapaxes(1, 2)
    rows, columns = np.triu_indices(layers.shape[1], k=1)
    pairs = kernels[:, rows, columns]
    size = np.sqrt((pairs**2).mean(axis=1, keepdims=True))
    cosines: Floats = pairs / np.where(size > 0, size, 1.0)
    return cosines


def families_of(kernel: xr.DataArray) -> int:
    """Number of families of rows of a `representation_kernel`."""
    pairs = kernel.sizes["pair"]
    return (1 + isqrt(1 + 8 * pairs)) // 2


def alignments(kernels: Sequence[xr.DataArray]) -> Floats:
    """Align all pairs of models, whole and with each family left out.

    Parameters
    ----------
    kernels : sequence of xarray.DataArray
        The `representation_kernel` of each model, ``(draw, layer, pair)``.

    Returns
    -------
    array, (1 + family, model, model)
        Mean over draws and blocks of the debiased centred kernel alignment, NaN as for
        `alignment_features`, whose inner products these are.

    Notes
    -----
    The inner product of two U-centred matrices of n rows is ``<A, B> - 2 a.b / (n - 2) +
    sum(a) sum(b) / ((n - 1) (n - 2))`` with their row sums a and b. A family that is left out takes
    a row and a column out of each term, so that no matrix is centred again.
    """
    square = np.stack([_square(kernel) for kernel in kernels], axis=1)
    count = square.shape[-1]
    sums = square.sum(-1)
    rows, whole = square.transpose(0, 2, 1, 3), sums.sum(-1)
    products = rows @ rows.swapaxes(-1, -2)
    of_rows = np.einsum("caf,cbf->cab", sums, sums)
    values = [_aligned(products.sum(1), of_rows, np.einsum("ca,cb->cab", whole, whole), count)]
    crossed = np.einsum("cbfi,cai->cfab", square, sums)
    left = sums.transpose(0, 2, 1)
    of_rows = of_rows[:, None] - left[..., :, None] * left[..., None, :]
    of_rows = of_rows - crossed - crossed.swapaxes(-1, -2) + products
    rest = whole[:, None] - 2 * left
    inner = products.sum(1, keepdims=True) - 2 * products
    without = _aligned(inner, of_rows, rest[..., :, None] * rest[..., None, :], count - 1)
    return np.array([*values, *without])


def _aligned(inner: Floats, rows: Floats, whole: Floats, count: int) -> Floats:
    """Alignment from inner products of kernels, of their row sums and of their sums."""
    if count < 4:
        return np.full(inner.shape[1:], np.nan)
    total = inner - 2 * rows / (count - 2) + whole / ((count - 1) * (count - 2))
    length = np.sqrt(np.maximum(np.diagonal(total, axis1=-2, axis2=-1), 0))
    scale = length[..., :, None] * length[..., None, :]
    unit = np.divide(total, scale, out=np.full_like(total, np.nan), where=scale > 0)
    return np.asarray(unit.mean(axis=0))


def _square(kernel: xr.DataArray) -> Floats:
    """Kernel matrices without their diagonals, ``(draw and layer, row, row)``."""
    count = families_of(kernel)
    rows, columns = np.triu_indices(count, k=1)
    values = kernel.transpose("draw", "layer", "pair").values.astype(np.float64)
    square = np.zeros((values.shape[0] * values.shape[1], count, count))
    square[:, rows, columns] = values.reshape(-1, rows.size)
    return square + square.swapaxes(-1, -2)


def alignment_features(kernel: xr.DataArray, without: int | None = None) -> Floats:
    """Turn a `representation_kernel` into a vector whose inner product with another's aligns them.

    Parameters
    ----------
    kernel : xarray.DataArray
        ``(draw, layer, pair)``.
    without : int, optional
        Place of a family to leave out.

    Returns
    -------
    array, (feature,)
        The inner product of two models' vectors is the mean over draws and blocks of their
        debiased centred kernel alignment: 1 for a model with itself. NaN where fewer than four
        families are left, or a block does not vary.
    """
    square = _square(kernel)
    if without is not None:
        kept = np.delete(np.arange(square.shape[-1]), without)
        square = square[..., kept[:, None], kept]
    if square.shape[-1] < 4:
        return np.full(kernel.size, np.nan)
    centred = u_centred(square).reshape(len(square), -1)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    unit = np.divide(centred, length, out=np.full_like(centred, np.nan), where=length > 0)
    features: Floats = unit.ravel() / np.sqrt(len(square))
    return features
