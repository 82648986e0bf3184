"""Observables that only figures show: maps, histograms, curves and scatters of bounded size.

A large matrix is made small by the means of blocks of it, so that every element counts and none is
left out; the few that are thinned instead (points of a scatter) say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.observables.registry import observable
from refutable.observables.weights import pca
from refutable.observables.weights.distribution import moments
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.work import ends, over_layers, spaced

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

    Doubles = NDArray[np.float64]

MAP = (48, 72)
"""Rows and columns of a map at most."""
ZOOM = 32
CURVE = 256
POINTS = 512
BINS = 120
REACH = 6.0
"""Histograms reach so many standard deviations either side; the outer bins hold what is beyond."""
STUDIED_DIMS = (400, 500, 600, 700)


def block_means(matrix: NDArray[np.floating], rows: int, columns: int) -> Doubles:
    """Means of a matrix over a grid of nearly equal blocks.

    Parameters
    ----------
    matrix : array (row, column)
        Any size.
    rows, columns : int
        Size of the grid at most; a smaller matrix keeps its own size.

    Returns
    -------
    array (row, column)
        Every element lies in exactly one block.
    """
    means = np.asarray(matrix, dtype=np.float64)
    for axis, most in ((0, rows), (1, columns)):
        size = means.shape[axis]
        if size > most:
            edges = np.linspace(0, size, most + 1).round().astype(int)
            sums = np.add.reduceat(means, edges[:-1], axis=axis)
            width = np.diff(edges).astype(float)
            means = sums / (width[:, None] if axis == 0 else width)
    return means


def first_and_last(weights: WeightReader) -> WeightReader:
    """The first and the last block."""
    return weights.at(tuple(dict.fromkeys((weights.layers[0], weights.layers[-1]))))


@observable(
    source="weights", dims=("row", "column"), unit="weight", recorded_with="position_variance"
)
def position_map(weights: WeightReader) -> xr.DataArray:
    """The table of position embeddings as means of blocks of positions and dimensions."""
    table = weights.position_table()
    means = block_means(table, *MAP)
    # Coordinates are the first position and dimension of each block.
    return labelled(
        means,
        row=_starts(table.shape[0], means.shape[0]),
        column=_starts(table.shape[1], means.shape[1]),
    )


def _starts(size: int, blocks: int) -> list[int]:
    return [int(x) for x in np.linspace(0, size, blocks + 1).round()[:-1]]


@observable(
    source="weights", dims=("dim", "position"), unit="weight", recorded_with="position_variance"
)
def position_curves(weights: WeightReader) -> xr.DataArray:
    """Some dimensions over positions: the study's four, and of low, middle and high variance."""
    table = weights.position_table()
    order = np.argsort(table.var(axis=0))
    wide = len(order)
    studied = [d for d in STUDIED_DIMS if d < wide] or list(spaced(range(wide), 4))
    middle = order[wide // 2 - 1 : wide // 2 + 1]
    chosen = dict.fromkeys(int(d) for d in (*studied, *order[:2], *middle, *order[-2:]))
    thin = block_means(table[:, list(chosen)], CURVE, wide)
    return labelled(thin.T, dim=chosen, position=_starts(len(table), len(thin)))


@observable(
    source="weights",
    dims=("layer", "bin"),
    unit="share",
    recorded_with="attention_input_statistics",
)
def attention_input_histogram(weights: WeightReader) -> xr.DataArray:
    """Share of the weights of [Q K V] in bins of a tenth of a standard deviation."""
    some = first_and_last(weights)
    edges = np.linspace(-REACH, REACH, BINS + 1)

    def shares(reader: WeightReader, layer: int) -> Doubles:
        matrix = reader.attention_input(layer).reshape(-1)
        of_matrix = moments([matrix])
        scaled = (matrix - np.float32(of_matrix.mean)) / np.float32(of_matrix.sd or 1.0)
        inside = np.clip(scaled, -REACH + 1e-6, REACH - 1e-6)
        return np.histogram(inside, edges)[0] / matrix.size

    middle = (edges[:-1] + edges[1:]) / 2
    return labelled(over_layers(some, shares), layer=some.layers, bin=middle.round(6))


@observable(
    source="weights",
    dims=("layer", "row", "column"),
    unit="weight",
    recorded_with="attention_input_statistics",
)
def attention_input_map(weights: WeightReader) -> xr.DataArray:
    """[Q K V] of the first and last block as means of blocks of inputs and outputs."""
    some = first_and_last(weights)
    means = np.array(over_layers(some, lambda w, at: block_means(w.attention_input(at), *MAP)))
    rows, columns = weights.attention_input(weights.layers[0]).shape
    return labelled(
        means,
        layer=some.layers,
        row=_starts(rows, means.shape[1]),
        column=_starts(columns, means.shape[2]),
    )


@observable(
    source="weights",
    dims=("layer", "row", "column"),
    unit="weight",
    recorded_with="attention_input_statistics",
)
def attention_input_zoom(weights: WeightReader) -> xr.DataArray:
    """Single weights of [Q K V]: the first 32 inputs and outputs of the first and last block."""
    some = first_and_last(weights)
    corners = np.array(over_layers(some, lambda w, at: w.attention_input(at)[:ZOOM, :ZOOM]))
    return labelled(
        corners, layer=some.layers, row=range(corners.shape[1]), column=range(corners.shape[2])
    )


@observable(
    source="weights",
    dims=("layer", "point"),
    unit="share",
    recorded_with="attention_input_spectrum",
)
def attention_input_cumulative(weights: WeightReader) -> xr.DataArray:
    """Variance held by the first components, at 64 even fractions of all, end blocks."""
    some = weights.at(ends(weights.layers))
    shares = over_layers(some, lambda w, layer: pca.cumulative(w.attention_input(layer)))
    return labelled(shares, layer=some.layers, point=np.linspace(0, 1, 65)[1:].round(6))


@observable(
    source="weights",
    dims=("layer", "component", "row"),
    unit="score",
    recorded_with="scatter_silhouette",
)
def attention_scatter(weights: WeightReader) -> xr.DataArray:
    """Rows of [Q K V] on their first two components; at most 512 evenly spaced rows are kept."""
    some = weights.at(ends(weights.layers))
    kept = spaced(range(weights.layout.d_model), POINTS)

    def points(reader: WeightReader, layer: int) -> Doubles:
        return pca.scores(reader.attention_input(layer))[list(kept)].T

    return labelled(over_layers(some, points), layer=some.layers, component=(1, 2), row=kept)
