"""A few measures of each kind, on a model and on untrained copies of it: what training changes.

Copies are drawn at a few blocks only, and the model is looked at in the same blocks. The blocks of
an untrained model are alike, so a few show what all would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import NotAvailableError
from refutable.observables.registry import observable
from refutable.observables.weights import distribution, heads, pca, positions
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.tables import COPIES
from refutable.observables.weights.work import averaged, side_by_side, spaced

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.weights.reading import WeightReader

BLOCK_VIEWS = (
    "ks_normal",
    "excess_kurtosis",
    "participation",
    "first_two_share",
    "silhouette",
    "row_spread",
    "query_spread",
    "cophenetic_qk",
    "cophenetic_ov",
)
POSITION_VIEWS = ("adjacent_correlation", "top3_share", "dominant_share")
VIEWS = (*BLOCK_VIEWS, *POSITION_VIEWS)
VIEWED_BLOCKS = 3


@observable(source="weights", dims=("view",), unit="see each view")
def weight_views(weights: WeightReader) -> xr.DataArray:
    """Mean over three blocks of a measure for each row of the study, and of the position table."""
    some = _some(weights)
    return labelled(side_by_side(some, 1, lambda _: _views(some))[0], view=VIEWS)


@observable(source="weights", dims=("copy", "view"), unit="see each view", of_config=True)
def untrained_weight_views(weights: WeightReader) -> xr.DataArray:
    """The same of 19 freshly initialised copies of the model's config."""
    some = _some(weights)
    views = side_by_side(some, COPIES, lambda seed: _views(some.untrained(seed)))
    return labelled(views, copy=range(COPIES), view=VIEWS)


def _some(weights: WeightReader) -> WeightReader:
    return weights.at(spaced(weights.layers, VIEWED_BLOCKS))


def _views(weights: WeightReader) -> list[float]:
    blocks = averaged([_block_views(weights, layer) for layer in weights.layers])
    return [*blocks, *_position_views(weights)]


def _block_views(weights: WeightReader, layer: int) -> list[float]:
    # One after the other: what a part has read is let go before the next one reads.
    return [
        *_distribution_views(weights, layer),
        *_input_views(weights, layer),
        *_head_views(weights, layer),
    ]


def _distribution_views(weights: WeightReader, layer: int) -> tuple[float, float]:
    """KS distance to a normal and excess kurtosis, medians over W_Q, W_K, W_V and W_O."""
    distances, kurtosis = [], []
    for name in "qkvo":
        matrix = weights.matrix(layer, name)
        of_matrix = distribution.moments([matrix])
        distances.append(distribution.ks_to_normal(matrix, of_matrix.mean, of_matrix.sd))
        kurtosis.append(of_matrix.excess_kurtosis)
    return float(np.median(distances)), float(np.median(kurtosis))


def _input_views(weights: WeightReader, layer: int) -> tuple[float, float, float, float]:
    """Participation ratio, share of two components, silhouette and row spread of [Q K V]."""
    parts = [weights.matrix(layer, name) for name in "qkv"]
    small = pca.gram(*parts)
    total = float(np.trace(small))
    participation = total**2 / float(np.vdot(small, small)) if total > 0 else float("nan")
    points = pca.scores(*parts, small=small)
    shape = (parts[0].shape[0], sum(part.shape[1] for part in parts))
    return (
        participation / pca.participation_gaussian(*shape),
        float((points**2).sum()) / total if total > 0 else float("nan"),
        pca.best_silhouette(points),
        _spread(distribution.row_variances(*parts)),
    )


def _head_views(weights: WeightReader, layer: int) -> list[float]:
    """Spread of the query heads' norms, and how well a tree describes each operator's heads."""
    weights_of_heads = heads.head_weights(weights, layer)
    norms = np.sqrt((weights_of_heads.query.astype(np.float64) ** 2).sum(axis=(0, 2)))
    trees = [
        heads.cluster(heads.head_distances(weights_of_heads, o)).cophenetic for o in heads.OPERATORS
    ]
    return [_spread(norms), *trees]


def _spread(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Standard deviation of logs: the relative spread of positive numbers."""
    return float(np.log(values).std()) if (values > 0).all() else float("nan")


def _position_views(weights: WeightReader) -> list[float]:
    try:
        table = weights.position_table()
    except NotAvailableError:
        return [float("nan")] * len(POSITION_VIEWS)
    variance = table.var(axis=0, dtype=np.float64)
    return [
        float(np.nanmean(positions.adjacent_correlation(table, "standardised"))),
        float(np.nanmean(positions.top_fourier_share(table))),
        float(variance.max() / variance.sum()),
    ]
