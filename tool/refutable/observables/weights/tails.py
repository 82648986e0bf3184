"""Tails of the spectra of a model's matrices, and of the same weights in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.observables.registry import observable
from refutable.observables.weights import spectra
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.work import over_layers, spaced

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

    Matrix = NDArray[np.float32]

BLOCKS, WIDE_BLOCKS, WIDE = 12, 3, 2048
"""Blocks that are looked at, and of models of at least that width: a decomposition takes the cube
of the width."""
COPIES, COPY_BLOCKS, MOST_SIDE = 19, 2, 512
_SEED = 20_240_711


@observable(source="weights", dims=("layer", "matrix", "measure"))
def spectrum_tails(weights: WeightReader) -> xr.DataArray:
    """Power law and log-normal fitted to the tail of each matrix's spectrum, in spaced blocks."""
    names = weights.matrices
    width = min(weights.matrix(weights.layers[0], names[0]).shape)
    some = weights.at(spaced(weights.layers, WIDE_BLOCKS if width >= WIDE else BLOCKS))

    def of_block(reader: WeightReader, layer: int) -> list[tuple[float, ...]]:
        return [_measures(reader.matrix(layer, name)) for name in names]

    return labelled(
        over_layers(some, of_block), layer=some.layers, matrix=names, measure=spectra.MEASURES
    )


@observable(source="weights", dims=("copy", "layer", "matrix", "measure"))
def shuffled_spectrum_tails(weights: WeightReader) -> xr.DataArray:
    """As `spectrum_tails`, of matrices filled with weights of the model at random.

    Nineteen copies of two blocks. Of a matrix with more than 512 rows and columns as many are
    filled as leave 512 of the fewer: noise has fewer eigenvalues to show itself by, and passes
    more often.
    """
    some = weights.at(spaced(weights.layers, COPY_BLOCKS))
    names = some.matrices

    def copies(reader: WeightReader, layer: int) -> list[list[tuple[float, ...]]]:
        tails = []
        for place, name in enumerate(names, layer * len(names)):
            matrix = reader.matrix(layer, name)
            rng = np.random.default_rng([_SEED, place])
            tails.append([_measures(_filled(matrix, rng)) for _ in range(COPIES)])
        return tails

    table = np.moveaxis(np.array(over_layers(some, copies)), 2, 0)
    return labelled(
        table, copy=range(COPIES), layer=some.layers, matrix=names, measure=spectra.MEASURES
    )


def _filled(matrix: Matrix, rng: np.random.Generator) -> Matrix:
    share = min(1.0, MOST_SIDE / min(matrix.shape))
    rows, columns = (max(1, round(size * share)) for size in matrix.shape)
    return rng.permutation(matrix.ravel())[: rows * columns].reshape(rows, columns)


def _measures(matrix: Matrix) -> tuple[float, ...]:
    tail = spectra.spectrum_tail(matrix)
    return tail.exponent, tail.share, tail.log_normal_z
