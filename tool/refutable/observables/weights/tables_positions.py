"""Observables of the table of learned position embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.observables.registry import observable
from refutable.observables.weights import pca, positions
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.tables import COPIES

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.weights.reading import WeightReader

FITS = ("r2_line", "r2_sinusoid", "period", "top3_share")


@observable(source="weights", dims=("fit", "dim"), unit="share or positions")
def position_periodicity(weights: WeightReader) -> xr.DataArray:
    """R2 of a line, R2 of line and sinusoid, its period, and share of 3 Fourier components."""
    table = weights.position_table()
    fit = positions.fit_sinusoids(table)
    rows = [fit.r2_line, fit.r2, fit.period, positions.top_fourier_share(table)]
    return labelled(rows, fit=FITS, dim=range(table.shape[1]))


@observable(source="weights", dims=("copy",), unit="share")
def position_top3_shuffled(weights: WeightReader) -> xr.DataArray:
    """Mean share of 3 Fourier components in 19 copies with the order of positions shuffled."""
    table = weights.position_table()
    rng = np.random.default_rng(724)
    shares = [
        float(np.nanmean(positions.top_fourier_share(table[rng.permutation(len(table))])))
        for _ in range(COPIES)
    ]
    return labelled(shares, copy=range(COPIES))


@observable(source="weights", dims=("dim",), unit="weight^2")
def position_variance(weights: WeightReader) -> xr.DataArray:
    """Variance over positions of each dimension of the position embeddings."""
    variances = weights.position_table().var(axis=0, dtype=np.float64)
    return labelled(variances, dim=range(len(variances)))


@observable(source="weights", dims=("kind", "position"), unit="correlation")
def position_adjacent_correlation(weights: WeightReader) -> xr.DataArray:
    """Correlation over dimensions of each position with the next: raw, centred, standardised."""
    table = weights.position_table()
    correlations = [positions.adjacent_correlation(table, kind) for kind in positions.KINDS]
    return labelled(correlations, kind=positions.KINDS, position=range(len(table) - 1))


@observable(source="weights", dims=("measure",), unit="components or share")
def position_spectrum(weights: WeightReader) -> xr.DataArray:
    """Participation ratio, first shares and components for 50 and 90 % of the position table."""
    return labelled(pca.spectrum_measures(weights.position_table()), measure=pca.MEASURES)
