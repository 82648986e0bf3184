"""Observables of attention heads: query norms, distances, trees, and rotated copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.observables.registry import observable
from refutable.observables.weights import heads
from refutable.observables.weights.labelled import labelled
from refutable.observables.weights.tables import COPIES
from refutable.observables.weights.work import over_layers, spaced

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

    Doubles = NDArray[np.float64]

TREE = ("cophenetic", "gap", "clusters")
ROTATED_BLOCKS = 6
"""Blocks at which rotated copies are drawn: evenly spaced, first and last among them."""


@observable(source="weights", dims=("measure", "layer", "head"), unit="weight or weight^2")
def query_head(weights: WeightReader) -> xr.DataArray:
    """Norm and variance of each head's part of W_Q."""

    def measure(reader: WeightReader, layer: int) -> Doubles:
        query = heads.head_weights(reader, layer).query.astype(np.float64)
        return np.array([np.sqrt((query**2).sum(axis=(0, 2))), query.var(axis=(0, 2))])

    differences = np.array(over_layers(weights, measure))
    return labelled(
        np.moveaxis(differences, 1, 0),
        measure=("norm", "variance"),
        layer=weights.layers,
        head=range(weights.layout.heads),
    )


@observable(
    source="weights",
    dims=("operator", "layer", "head", "other"),
    unit="distance",
    recorded_with="head_cophenetic",
)
def head_distance(weights: WeightReader) -> xr.DataArray:
    """Distance of two heads' W_Q W_K^T, and W_V W_O, each scaled to length 1."""

    def measure(reader: WeightReader, layer: int) -> list[Doubles]:
        weights_of_heads = heads.head_weights(reader, layer)
        return [heads.head_distances(weights_of_heads, operator) for operator in heads.OPERATORS]

    distances = np.array(over_layers(weights, measure))
    many = range(weights.layout.heads)
    return labelled(
        np.moveaxis(distances, 1, 0),
        operator=heads.OPERATORS,
        layer=weights.layers,
        head=many,
        other=many,
    )


@observable(source="weights", dims=("operator", "layer"), unit="correlation")
def head_cophenetic(weights: WeightReader) -> xr.DataArray:
    """Cophenetic correlation of the Ward tree of a block's heads; 1 is a perfect tree."""

    def measure(reader: WeightReader, layer: int) -> list[float]:
        weights_of_heads = heads.head_weights(reader, layer)
        trees = (heads.cluster(heads.head_distances(weights_of_heads, o)) for o in heads.OPERATORS)
        return [tree.cophenetic for tree in trees]

    correlations = np.array(over_layers(weights, measure))
    return labelled(correlations.T, operator=heads.OPERATORS, layer=weights.layers)


@observable(
    source="weights", dims=("tree", "copy", "operator", "layer"), unit="correlation, log or count"
)
def head_clustering(weights: WeightReader) -> xr.DataArray:
    """Cophenetic correlation, gap and its clusters of the weights (copy -1) and rotated copies."""
    some = weights.at(spaced(weights.layers, ROTATED_BLOCKS))
    trees = np.array(over_layers(some, _clusterings))
    return labelled(
        np.moveaxis(trees, 0, 3),
        tree=TREE,
        copy=range(-1, COPIES),
        operator=heads.OPERATORS,
        layer=some.layers,
    )


def _clusterings(reader: WeightReader, layer: int) -> Doubles:
    """One block's measures, (tree, copy, operator); the weights themselves come first."""
    weights_of_heads = heads.head_weights(reader, layer)
    rng = np.random.default_rng([layer, 12])
    # One copy at a time: those of a large block take as much memory as the block each.
    grown = [
        _trees(weights_of_heads),
        *(_rotated_trees(weights_of_heads, rng) for _ in range(COPIES)),
    ]
    columns = []
    for trees in zip(*grown, strict=True):
        rows = []
        for at, tree in enumerate(trees):
            # A copy is held against the other copies, as the weights are against all of them.
            references = [other for i, other in enumerate(trees) if i not in (0, at)]
            rows.append((tree.cophenetic, *heads.gap(tree, references)))
        columns.append(rows)
    return np.array(columns, dtype=float).transpose(2, 1, 0)


def _trees(weights: heads.HeadWeights) -> list[heads.Clustering]:
    return [heads.cluster(heads.head_distances(weights, o)) for o in heads.OPERATORS]


def _rotated_trees(weights: heads.HeadWeights, rng: np.random.Generator) -> list[heads.Clustering]:
    return [heads.cluster(heads.rotated_distances(weights, o, rng)) for o in heads.OPERATORS]


@observable(source="weights", dims=("layer",), unit="correlation")
def slices_cophenetic(weights: WeightReader) -> xr.DataArray:
    """The study's own clustering: equal slices of [Q K V], not heads, averaged over inputs."""

    def measure(reader: WeightReader, layer: int) -> float:
        return heads.slices_cophenetic(reader.attention_input(layer), reader.layout.heads)

    return labelled(over_layers(weights, measure), layer=weights.layers)
