"""How alike the heads of a block are, in measures that no choice of basis inside a head changes.

A head reads and writes through W_Q W_K^T (which pairs of positions attend) and W_V W_O (what is
moved). W_Q M and W_K M^-T are the same head for every invertible M, so heads are compared by
these products and not by their factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

    Doubles = NDArray[np.float64]
    Floats = NDArray[np.float32]

OPERATORS = ("qk", "ov")
"""W_Q W_K^T and W_V W_O."""


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """Factors of a block's heads, input first and (d_model, head, head_dim) each."""

    query: Floats
    key: Floats
    """Key heads, fewer than query heads where they are shared."""
    value: Floats
    output: Floats
    """W_O of each query head, transposed to (d_model, head, head_dim)."""

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return int(self.query.shape[1])


@dataclass(frozen=True, slots=True)
class Clustering:
    """Ward linkage of a block's heads under one operator."""

    linkage: Doubles
    """scipy's linkage matrix, (head - 1, 4)."""
    cophenetic: float
    """Correlation of the tree's distances with the distances: 1 is a perfect tree."""
    log_within: Doubles
    """Log of the within-cluster sum of squares for 1, 2, ..., heads - 1 clusters."""


def head_weights(reader: WeightReader, layer: int) -> HeadWeights:
    """Cut the attention matrices of a block into heads."""
    layout = reader.layout
    keys, size = layout.sizes[layer].key_heads, layout.sizes[layer].head_dim
    return HeadWeights(
        query=_cut(reader.matrix(layer, "q"), layout.heads, size),
        key=_cut(reader.matrix(layer, "k"), keys, size),
        value=_cut(reader.matrix(layer, "v"), keys, size),
        output=reader.matrix(layer, "o").T.reshape(-1, layout.heads, size),
    )


def _cut(matrix: Floats, heads: int, size: int) -> Floats:
    """Cut columns into heads; some blocks read more than the stream (Zamba 2 reads two)."""
    return matrix.reshape(matrix.shape[0], heads, size)


def head_cosines(weights: HeadWeights, operator: str) -> Doubles:
    """Cosine of each pair of heads' operators, as matrices in the Frobenius inner product.

    Parameters
    ----------
    weights : HeadWeights
        Factors of a block's heads.
    operator : {"qk", "ov"}
        Which product.

    Returns
    -------
    array (head, head)
        Symmetric, ones on the diagonal.

    Notes
    -----
    <A_a B_a^T, A_b B_b^T> is the sum over the elements of (A_a^T A_b) * (B_a^T B_b): two small
    Gram matrices, never a (d_model, d_model) product.
    """
    return _cosines(*_factors_of(weights, operator), weights.heads)


def _factors_of(weights: HeadWeights, operator: str) -> tuple[Floats, Floats]:
    if operator == "qk":
        return weights.query, weights.key
    return weights.value, weights.output


def _cosines(first: Floats, second: Floats, heads: int) -> Doubles:
    left, right = _grams(first, heads), _grams(second, heads)
    left *= right
    inner = left.sum(axis=(1, 3), dtype=np.float64)
    size = np.sqrt(np.diagonal(inner))
    size = np.where(size > 0, size, 1.0)
    cosines: Doubles = inner / np.outer(size, size)
    np.fill_diagonal(cosines, 1.0)
    return np.clip(cosines, -1.0, 1.0)


def _grams(factors: Floats, heads: int) -> Floats:
    """Gram matrices of all pairs of heads, (head, head_dim, head, head_dim)."""
    wide, inner, size = factors.shape
    flat = factors.reshape(wide, inner * size)
    gram = (flat.T @ flat).reshape(inner, size, inner, size)
    if inner == heads:
        return np.asarray(gram)
    of = np.arange(heads) // (heads // inner)
    return np.asarray(gram[of][:, :, of])


def head_distances(weights: HeadWeights, operator: str) -> Doubles:
    """Distance of the heads' operators scaled to length one: sqrt(2 - 2 cos), (head, head)."""
    return _distances(head_cosines(weights, operator))


def rotated_distances(weights: HeadWeights, operator: str, rng: np.random.Generator) -> Doubles:
    """The same of a copy whose heads are `rotated`; only the operator's two matrices are copied."""
    first, second = _factors_of(weights, operator)
    return _distances(_cosines(rotated(first, rng), rotated(second, rng), weights.heads))


def _distances(cosines: Doubles) -> Doubles:
    distances: Doubles = np.sqrt(np.clip(2 - 2 * cosines, 0, None))
    np.fill_diagonal(distances, 0.0)
    return distances


def cluster(distances: Doubles) -> Clustering:
    """Ward linkage of heads with its cophenetic correlation.

    Parameters
    ----------
    distances : array (head, head)
        Euclidean distances (see `head_distances`). A single head has no tree, and two have no
        correlation.

    Notes
    -----
    A Ward merge at height h adds h^2 / 2 to the within-cluster sum of squares, so the sums for all
    numbers of clusters are running sums of the heights.
    """
    from scipy.cluster.hierarchy import cophenet, ward
    from scipy.spatial.distance import squareform

    condensed = squareform(distances, checks=False)
    if condensed.size == 0:
        return Clustering(np.empty((0, 4)), float("nan"), np.empty(0))
    linkage = ward(condensed)
    tree = cophenet(linkage)
    varies = np.ptp(condensed) > 0 and np.ptp(tree) > 0
    correlation = float(np.corrcoef(tree, condensed)[0, 1]) if varies else float("nan")
    within = np.cumsum(linkage[:, 2] ** 2 / 2)[::-1]
    return Clustering(linkage, correlation, np.log(np.maximum(within, 1e-30)))


def gap(observed: Clustering, references: list[Clustering]) -> tuple[float, int]:
    """Gap statistic of a clustering against rotated copies, and its number of clusters.

    Parameters
    ----------
    observed : Clustering
        Of the weights.
    references : list of Clustering
        Of copies without clusters.

    Returns
    -------
    gap, clusters : float, int
        The largest gain of the gap over one cluster, E[log W_k] - log W_k less the same at k = 1,
        and the smallest k that has 90 % of it; 0 and 1 when no k gains.

    References
    ----------
    Tibshirani, Walther and Hastie (2001). The gap at k = 1 is taken off because the copies differ
    from the weights in total spread too, which is no cluster; the usual one-standard-error rule is
    not used because copies in many dimensions hardly differ from one another.
    """
    if observed.log_within.size == 0:
        return float("nan"), 1
    expected = np.mean([r.log_within for r in references], axis=0)
    gaps = expected - observed.log_within
    # Beyond half as many clusters as heads most clusters are single heads.
    most = max(len(gaps) // 2 + 1, 2)
    gained = (gaps - gaps[0])[:most]
    largest = float(gained.max())
    return largest, int((gained >= 0.9 * largest).argmax()) + 1


def rotated(factors: Floats, rng: np.random.Generator) -> Floats:
    """Turn every head in the residual stream by a rotation of its own.

    Parameters
    ----------
    factors : array (d_model, head, head_dim)
        One factor of a block's heads.
    rng : numpy.random.Generator
        Of the rotations.

    Returns
    -------
    array (d_model, head, head_dim)
        Each head keeps its singular values and loses every relation to the other heads; heads that
        share a key keep that. A rotation is random signs, a cosine transform, and random signs and
        order: orthogonal, and linear in the size of the head.
    """
    from scipy.fft import dct

    wide, heads, _ = factors.shape
    signs = rng.integers(0, 2, (2, wide, heads, 1)).astype(np.float32) * 2 - 1
    order = np.argsort(rng.random((wide, heads)), axis=0)
    rotated_heads = np.empty(factors.shape, dtype=np.float32)
    # Head by head: a wide block at once takes three matrices more on the way.
    for head in range(heads):
        turned_once = factors[:, head] * signs[0][:, head]
        turned = dct(turned_once, axis=0, norm="ortho", overwrite_x=True) * signs[1][:, head]
        rotated_heads[:, head] = turned[order[:, head]]
    return rotated_heads


def slices_cophenetic(attention_input: Floats, slices: int) -> float:
    """Cophenetic correlation of the study's own clustering, which is not one of heads.

    The columns of [Q K V] side by side are cut into as many equal slices as there are heads and
    averaged over inputs; for GPT-2 slices 0-3 are queries, 4-7 keys and 8-11 values. NaN where
    the columns cannot be cut evenly.
    """
    from scipy.spatial.distance import pdist, squareform

    columns = attention_input.shape[1]
    if columns % slices:
        return float("nan")
    means = attention_input.mean(axis=0, dtype=np.float64).reshape(slices, -1)
    return cluster(squareform(pdist(means))).cophenetic
