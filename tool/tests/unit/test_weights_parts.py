"""Matrices given one by one give what they would give laid side by side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refutable.observables.weights import distribution, pca


@given(
    st.integers(2, 30),
    st.lists(st.integers(1, 25), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_parts_are_as_the_whole(
    rows: int, columns: list[int], standardised: bool, seed: int
) -> None:
    source = np.random.default_rng(seed)
    parts = [source.standard_normal((rows, n), dtype=np.float32) + i for i, n in enumerate(columns)]
    whole = np.concatenate(parts, axis=1)
    centred = whole.astype(np.float64) - whole.mean(axis=0, dtype=np.float64)
    if standardised:
        centred /= centred.std(axis=0)
    plain = centred @ centred.T if rows <= whole.shape[1] else centred.T @ centred
    np.testing.assert_allclose(pca.gram(*parts, standardised=standardised), plain, atol=1e-9)
    np.testing.assert_allclose(
        distribution.row_variances(*parts), whole.var(axis=1, dtype=np.float64), rtol=1e-9
    )


@pytest.mark.parametrize("columns", [(9, 9, 9), (3, 2, 1)])
def test_scores_of_parts_are_those_of_singular_vectors(columns: tuple[int, ...]) -> None:
    source = np.random.default_rng(4)
    parts = [source.standard_normal((12, n)) * (i + 1) for i, n in enumerate(columns)]
    whole = np.concatenate(parts, axis=1)
    u, s, _ = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
    expected = np.abs(u[:, :2] * s[:2])
    measured = pca.scores(*parts)
    np.testing.assert_allclose(np.abs(measured), expected, rtol=1e-8)
    np.testing.assert_array_equal(pca.scores(*parts, small=pca.gram(*parts)), measured)
