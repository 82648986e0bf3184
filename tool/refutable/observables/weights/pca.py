"""Principal components of weight matrices: rows are the samples, columns the features.

The eigenvalues of the covariance are taken from the smaller Gram matrix (rows x rows or columns x
columns), which has the same ones; docs/studies/gpt2-weights.md gives the times against
scikit-learn's solvers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

MEASURES = (
    "participation",
    "participation_gaussian",
    "first_share",
    "first_two_share",
    "components_50",
    "components_90",
)
"""Rows of the table of spectra, in its order."""
_PIECE = 1 << 20
"""Elements widened to float64 at once: a large matrix is never held twice over."""
_WORKING_MEGABYTES = 64
"""Distances between points that scikit-learn holds at once; its own 1 GB is a model's block."""


def gram(*matrices: NDArray[np.floating], standardised: bool = False) -> Doubles:
    """Gram matrix of the centred columns of matrices laid side by side, of the smaller side.

    Parameters
    ----------
    matrices : array (sample, feature)
        Any real type; the work is in float64. All have the same samples.
    standardised : bool
        Also divide each column by its standard deviation, as the study did. Columns that do not
        vary are left at zero.

    Returns
    -------
    array (sample, sample) or (feature, feature)
        Whichever is smaller.
    """
    rows = matrices[0].shape[0]
    if rows <= sum(matrix.shape[1] for matrix in matrices):
        products = np.zeros((rows, rows))
        # Products over samples add up: wide matrices are never copied to lie side by side.
        for matrix in matrices:
            _add_over_columns(products, matrix, standardised)
        return products
    return _gram_of_columns(_beside(matrices), standardised)


def _beside(matrices: tuple[NDArray[np.floating], ...]) -> NDArray[np.floating]:
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices, axis=1)


def _add_over_columns(total: Doubles, matrix: NDArray[np.floating], standardised: bool) -> None:
    mean, scale = _centre_and_scale(matrix, standardised)
    rows, columns = matrix.shape
    step = max(1, _PIECE // rows)
    for at in range(0, columns, step):
        part = slice(at, at + step)
        piece = (matrix[:, part].astype(np.float64) - mean[part]) / scale[part]
        total += piece @ piece.T


def _gram_of_columns(matrix: NDArray[np.floating], standardised: bool) -> Doubles:
    mean, scale = _centre_and_scale(matrix, standardised)
    rows, columns = matrix.shape
    products = np.zeros((columns, columns))
    step = max(1, _PIECE // columns)
    for at in range(0, rows, step):
        piece = (matrix[at : at + step].astype(np.float64) - mean) / scale
        products += piece.T @ piece
    return products


def _centre_and_scale(matrix: NDArray[np.floating], standardised: bool) -> tuple[Doubles, Doubles]:
    mean, sd = _columns(matrix)
    return mean, np.where(sd > 0, sd, 1.0) if standardised else np.ones_like(sd)


def _columns(matrix: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each column, in float64 without a copy of the whole."""
    rows, columns = matrix.shape
    mean = matrix.mean(axis=0, dtype=np.float64)
    squares = np.zeros(columns)
    step = max(1, _PIECE // columns)
    for at in range(0, rows, step):
        squares += ((matrix[at : at + step].astype(np.float64) - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(squares / rows)


def eigenvalues(matrix: NDArray[np.floating], *, standardised: bool = False) -> Doubles:
    """Eigenvalues of a matrix's column covariance, times the number of rows, largest first.

    Parameters
    ----------
    matrix : array (sample, feature)
        See `gram`.

    Returns
    -------
    array (component,)
        ``min(rows, columns)`` of them; rounding below zero is set to zero.
    """
    from scipy.linalg import eigvalsh

    small = gram(matrix, standardised=standardised)
    values = eigvalsh(small, overwrite_a=True, check_finite=False, driver="evr")[::-1]
    return np.clip(np.asarray(values, dtype=np.float64), 0.0, None)


def participation(eigenvalues: Doubles) -> float:
    """Participation ratio (sum)^2 / (sum of squares): how many equal components would do.

    The number of components when all are equal, 1 when one holds everything, NaN for zero.
    """
    squares = float((eigenvalues**2).sum())
    return float(eigenvalues.sum()) ** 2 / squares if squares > 0 else float("nan")


def participation_gaussian(rows: int, columns: int) -> float:
    """Participation ratio of a Gaussian matrix of the same shape, centred by column.

    Notes
    -----
    From the first two moments of a Wishart matrix of n = rows - 1 degrees of freedom:
    E tr = n p, E tr^2 = n p (n + p + 1), so the ratio is about n p / (n + p + 1).
    """
    n = rows - 1
    return n * columns / (n + columns + 1)


def components_for(share: float, eigenvalues: Doubles) -> int:
    """Smallest number of leading components that hold at least a `share` of the variance."""
    cumulative = np.cumsum(eigenvalues)
    return int(np.searchsorted(cumulative, share * cumulative[-1] * (1 - 1e-12)) + 1)


def spectrum_measures(matrix: NDArray[np.floating], *, standardised: bool = False) -> Doubles:
    """Summaries of one matrix's spectrum in the order of `MEASURES`; NaN where nothing varies."""
    values = eigenvalues(matrix, standardised=standardised)
    total = float(values.sum())
    if not total > 0:
        return np.full(len(MEASURES), np.nan)
    return np.array(
        [
            participation(values),
            participation_gaussian(*matrix.shape),
            values[0] / total,
            values[:2].sum() / total,
            components_for(0.5, values),
            components_for(0.9, values),
        ]
    )


def cumulative(matrix: NDArray[np.floating], points: int = 64) -> Doubles:
    """Share of variance held by the first k components at `points` even fractions of all k.

    Returns
    -------
    array (point,)
        At k / K = 1/points, 2/points, ..., 1.
    """
    values = eigenvalues(matrix)
    whole = np.cumsum(values) / values.sum()
    at = np.ceil(np.linspace(0, values.size, points + 1)[1:]).astype(int) - 1
    return np.asarray(whole[at])


def scores(
    *matrices: NDArray[np.floating], components: int = 2, small: Doubles | None = None
) -> Doubles:
    """Rows of matrices laid side by side on their first principal components.

    Parameters
    ----------
    matrices : array (sample, feature)
        See `gram`.
    components : int
        How many.
    small : array, optional
        Their `gram`, where it is at hand; it is overwritten.

    Returns
    -------
    array (sample, component)
        Centred; the sign of each component makes its largest entry positive.
    """
    from scipy.linalg import eigh

    small = gram(*matrices) if small is None else small
    size = len(small)
    # LAPACK works on columns: the transpose of the symmetric matrix is taken as it lies.
    values, vectors = eigh(
        small.T, subset_by_index=[size - components, size - 1], overwrite_a=True, check_finite=False
    )
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    rows = matrices[0].shape[0]
    if rows <= sum(matrix.shape[1] for matrix in matrices):
        projected = vectors * np.sqrt(values)
    else:
        matrix = _beside(matrices)
        projected = matrix @ vectors - matrix.mean(axis=0, dtype=np.float64) @ vectors
    largest = projected[np.abs(projected).argmax(axis=0), np.arange(components)]
    return np.asarray(projected * np.where(largest < 0, -1.0, 1.0))


def rotated_scores(points: Doubles, rng: np.random.Generator) -> Doubles:
    """Scores of the same matrix with its rows mixed by a random rotation.

    Mixing the rows of W by a random orthogonal R keeps every singular value and leaves no cluster
    of rows. Only the first columns of R are needed: a random orthonormal frame, orthogonal to the
    constant so that the scores stay centred, scaled to the variance of each component.
    """
    frame = rng.standard_normal(points.shape)
    frame -= frame.mean(axis=0)
    q, _ = np.linalg.qr(frame)
    return np.asarray(q * np.sqrt((points**2).sum(axis=0)))


def best_silhouette(
    points: Doubles, *, clusters: tuple[int, ...] = (2, 3, 4), seed: int = 0
) -> float:
    """Largest mean silhouette of k-means clusterings of a scatter.

    Parameters
    ----------
    points : array (sample, 2)
        Scores, each component scaled to unit variance here so that both count.
    clusters : tuple of int
        Numbers of clusters tried.
    seed : int
        Seed of k-means' starts.

    Returns
    -------
    float
        Between -1 and 1; about .33 to .45 for a round Gaussian cloud cut into pieces. NaN where
        a component does not vary.
    """
    from sklearn import config_context  # type: ignore[import-untyped]
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]
    from sklearn.metrics import silhouette_score  # type: ignore[import-untyped]

    spread = points.std(axis=0)
    if not (spread > 0).all():
        return float("nan")
    scaled = points / spread
    silhouettes = []
    # Checks of what is passed take as long as the work on a few hundred points.
    with config_context(
        assume_finite=True, skip_parameter_validation=True, working_memory=_WORKING_MEGABYTES
    ):
        for k in clusters:
            labels = KMeans(k, n_init=1, random_state=seed).fit_predict(scaled)
            silhouettes.append(float(silhouette_score(scaled, labels)))
    return max(silhouettes)
