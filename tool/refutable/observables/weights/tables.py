"""Observables of the matrices: counts, distributions, spectra and scatter, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.models.weights.roles import CATEGORIES
from refutable.observables.registry import observable
from refutable.observables.weights import distribution, pca
from refutable.observables.weights.counts import count, count_stored
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.work import ends, over_layers, over_matrices, side_by_side

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

    Doubles = NDArray[np.float64]

QUANTILES = tuple(round(0.05 * i, 2) for i in range(21))
COPIES = 19
"""Copies of a null: the fewest whose rank can be 1 in 20."""
_BYTES_FLOAT32 = 4
_INITIAL_SEED = 1000
"""Of the copy that stands for the start of training; no copy of a null control has this seed."""


# -- counts ------------------------------------------------------------------------------------


@observable(source="weights", dims=("category",), unit="parameters")
def parameter_count(weights: WeightReader) -> xr.DataArray:
    """Unique parameters by category; a tied unembedding is part of the embedding."""
    counts = count(weights.layout).by_category
    return labelled([counts[name] for name in CATEGORIES], category=CATEGORIES)


@observable(source="weights", dims=("counted",), unit="parameters")
def parameter_total(weights: WeightReader) -> xr.DataArray:
    """Parameters counted once each, once per name, and as the checkpoint stores them."""
    counted, stored = count(weights.layout), count_stored(weights)
    totals = {"unique": counted.unique, "named": counted.named, "stored": stored.stored}
    return labelled(list(totals.values()), counted=list(totals))


@observable(source="weights", dims=("names",), unit="parameters", recorded_with="parameter_count")
def tied_parameter(weights: WeightReader) -> xr.DataArray:
    """Size of each tensor that has several names, by these names."""
    tied = weights.layout.tied
    names = [" = ".join((p.name, *p.aliases)) for p in tied]
    return labelled([p.size for p in tied], names=names)


@observable(
    source="weights", dims=("category", "layer"), unit="parameters", recorded_with="parameter_count"
)
def block_parameter_count(weights: WeightReader) -> xr.DataArray:
    """Unique parameters of each block by category."""
    blocks = count(weights.layout).by_block
    table = [[block[name] for block in blocks] for name in CATEGORIES]
    return labelled(table, category=CATEGORIES, layer=range(len(blocks)))


@observable(dims=("category",), unit="MB")
def parameter_megabytes(parameter_count: xr.DataArray) -> xr.DataArray:
    """Size of each category's unique parameters as float32, in 10^6 bytes."""
    return parameter_count * (_BYTES_FLOAT32 / 1e6)


# -- distributions -----------------------------------------------------------------------------


@observable(source="weights", dims=("statistic", "layer", "matrix"), unit="weight or none")
def weight_statistics(weights: WeightReader) -> xr.DataArray:
    """Mean, sd, extremes, skewness, excess kurtosis and KS distance to a normal of each matrix."""
    statistics: Doubles = np.array(over_matrices(weights, weights.matrices, distribution.describe))
    return labelled(
        np.moveaxis(statistics, 2, 0),
        statistic=distribution.STATISTICS,
        layer=weights.layers,
        matrix=weights.matrices,
    )


@observable(source="weights", dims=("layer", "matrix"), unit="weight")
def weight_sd(weights: WeightReader) -> xr.DataArray:
    """Standard deviation of each matrix."""
    return _spreads(weights)


@observable(source="weights", dims=("layer", "matrix"), unit="weight", of_config=True, version=2)
def initial_weight_sd(weights: WeightReader) -> xr.DataArray:
    """Standard deviation of each matrix of an untrained copy of the model."""
    return _spreads(weights.untrained(_INITIAL_SEED))


def _spreads(weights: WeightReader) -> xr.DataArray:
    spreads: Doubles = np.array(over_matrices(weights, weights.matrices, _standard_deviation))
    return labelled(spreads, layer=weights.layers, matrix=weights.matrices)


def _standard_deviation(matrix: NDArray[np.float32]) -> float:
    return distribution.moments([matrix]).sd


@observable(source="weights", dims=("statistic", "layer"), unit="weight or none")
def attention_input_statistics(weights: WeightReader) -> xr.DataArray:
    """The same of queries, keys and values pooled: GPT-2's c_attn, as the study took it."""
    statistics = over_layers(
        weights, lambda w, layer: distribution.describe(w.attention_input(layer))
    )
    return labelled(np.array(statistics).T, statistic=distribution.STATISTICS, layer=weights.layers)


@observable(source="weights", dims=("quantile", "layer", "matrix"), unit="weight^2")
def weight_row_variance(weights: WeightReader) -> xr.DataArray:
    """Quantiles over input features of the variance of a feature's weights, for each matrix."""

    def quantiles(matrix: NDArray[np.float32]) -> Doubles:
        return np.quantile(distribution.row_variances(matrix), QUANTILES)

    variances: Doubles = np.array(over_matrices(weights, weights.matrices, quantiles))
    return labelled(
        np.moveaxis(variances, 2, 0),
        quantile=QUANTILES,
        layer=weights.layers,
        matrix=weights.matrices,
    )


# -- spectra -----------------------------------------------------------------------------------


@observable(source="weights", dims=("measure", "layer", "matrix"), unit="components or share")
def weight_spectrum(weights: WeightReader) -> xr.DataArray:
    """Participation ratio, shares of the first components and components for 50 and 90 %."""
    spectra: Doubles = np.array(over_matrices(weights, weights.matrices, pca.spectrum_measures))
    return labelled(
        np.moveaxis(spectra, 2, 0),
        measure=pca.MEASURES,
        layer=weights.layers,
        matrix=weights.matrices,
    )


@observable(source="weights", dims=("measure", "layer"), unit="components or share")
def attention_input_spectrum(weights: WeightReader) -> xr.DataArray:
    """The same of queries, keys and values side by side; rows are input features."""
    return _input_spectrum(weights, standardised=False)


@observable(source="weights", dims=("measure", "layer"), unit="components or share")
def attention_input_spectrum_standardised(weights: WeightReader) -> xr.DataArray:
    """The same with every column scaled to unit variance, as the study did."""
    return _input_spectrum(weights, standardised=True)


def _input_spectrum(weights: WeightReader, *, standardised: bool) -> xr.DataArray:
    def measures(reader: WeightReader, layer: int) -> Doubles:
        return pca.spectrum_measures(reader.attention_input(layer), standardised=standardised)

    spectra = np.array(over_layers(weights, measures))
    return labelled(spectra.T, measure=pca.MEASURES, layer=weights.layers)


@observable(source="weights", dims=("layer",), unit="silhouette")
def scatter_silhouette(weights: WeightReader) -> xr.DataArray:
    """Best silhouette of 2 to 4 clusters of rows on their first two components, end blocks."""
    some = weights.at(ends(weights.layers))
    silhouettes = over_layers(
        some, lambda w, layer: pca.best_silhouette(pca.scores(w.attention_input(layer)))
    )
    return labelled(silhouettes, layer=some.layers)


@observable(source="weights", dims=("copy", "layer"), unit="silhouette")
def scatter_silhouette_rotated(weights: WeightReader) -> xr.DataArray:
    """The same of 19 copies of the weights whose rows are mixed by random rotations."""
    some = weights.at(ends(weights.layers))

    def copies(reader: WeightReader, layer: int) -> list[float]:
        points = pca.scores(reader.attention_input(layer))
        rng = np.random.default_rng([layer, 9])
        turned = [pca.rotated_scores(points, rng) for _ in range(COPIES)]
        return side_by_side(reader, COPIES, lambda copy: pca.best_silhouette(turned[copy]))

    silhouettes = np.array(over_layers(some, copies))
    return labelled(silhouettes.T, copy=range(COPIES), layer=some.layers)
