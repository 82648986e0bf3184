"""Planted tensors with known answers: sinusoid, low rank, groups of heads, clusters, power law."""

from __future__ import annotations

import numpy as np
import pytest

from refutable.observables.weights import heads as hd
from refutable.observables.weights import pca
from refutable.observables.weights import positions as pos

RNG = np.random.default_rng


def test_a_sinusoid_of_known_period_is_found():
    t = np.arange(256)[:, None]
    periods = np.array([[17.3, 40.0, 100.0, 256.0, 2.5]])
    table = 3 + 0.01 * t + np.sin(2 * np.pi * t / periods + 0.4)
    fit = pos.fit_sinusoids(table)
    np.testing.assert_allclose(fit.period, periods[0], rtol=2e-3)
    np.testing.assert_allclose(fit.r2, 1.0, atol=2e-3)
    assert (pos.top_fourier_share(table - 0.01 * t)[[1, 3]] > 0.85).all()


def test_noise_has_no_period_and_constants_none_at_all():
    table = RNG(0).standard_normal((512, 40))
    table[:, 3] = 2.0
    fit = pos.fit_sinusoids(table)
    assert np.isnan(fit.r2[3])
    assert np.nanmax(fit.r2) < 0.08
    assert np.isnan(pos.top_fourier_share(table)[3])
    assert np.nanmedian(pos.top_fourier_share(table)) < 0.1


def test_a_line_is_a_line():
    fit = pos.fit_sinusoids(np.arange(100.0)[:, None] * [[1.0, -2.0]])
    np.testing.assert_allclose(fit.r2_line, 1)
    np.testing.assert_allclose(fit.r2, 1)


def test_neighbours_are_alike_only_because_of_a_shared_mean():
    # Independent positions on one large common vector: raw r near 1, centred r near 0.
    rng = RNG(1)
    table = rng.standard_normal((200, 300)) + 10 * rng.standard_normal(300)
    assert pos.adjacent_correlation(table, "raw").mean() > 0.97
    assert abs(pos.adjacent_correlation(table, "centred").mean()) < 0.02
    # One loud dimension that drifts slowly decides the centred r, not the standardised one.
    table[:, 7] += 500 * np.cos(np.arange(200) / 60)
    assert pos.adjacent_correlation(table, "centred").mean() > 0.5
    assert abs(pos.adjacent_correlation(table, "standardised").mean()) < 0.05


def test_a_rank_three_matrix_has_three_components():
    rng = RNG(2)
    left = np.linalg.qr(rng.standard_normal((60, 4)) - 0)[0]
    left -= left.mean(axis=0)
    left = np.linalg.qr(left)[0][:, :3]
    right = np.linalg.qr(rng.standard_normal((90, 3)))[0]
    matrix = (left * [3.0, 2.0, 1.0]) @ right.T + 5.0
    values = pca.eigenvalues(matrix)
    np.testing.assert_allclose(values[:3], [9, 4, 1], rtol=1e-9)
    assert values[3] < 1e-9
    measured = dict(zip(pca.MEASURES, pca.spectrum_measures(matrix), strict=True))
    assert measured["participation"] == pytest.approx(14**2 / (81 + 16 + 1))
    assert measured["first_share"] == pytest.approx(9 / 14)
    assert measured["first_two_share"] == pytest.approx(13 / 14)
    assert (measured["components_50"], measured["components_90"]) == (1, 2)
    np.testing.assert_allclose(pca.spectrum_measures(matrix.T[:, :1] * 0), np.nan)


def test_a_gaussian_of_the_study_shape():
    # Recomputed for the study: first share .0032, 216 components for 50 %, 557 for 90 %.
    matrix = RNG(3).standard_normal((768, 2304)).astype(np.float32)
    measured = dict(zip(pca.MEASURES, pca.spectrum_measures(matrix), strict=True))
    assert measured["first_share"] == pytest.approx(0.0032, abs=0.0001)
    assert measured["components_50"] == pytest.approx(216, abs=2)
    assert measured["components_90"] == pytest.approx(557, abs=2)
    assert measured["participation"] == pytest.approx(measured["participation_gaussian"], rel=0.005)


def test_standardising_fixes_the_total():
    matrix = RNG(4).standard_normal((50, 20)) * np.arange(1, 21)
    assert pca.eigenvalues(matrix, standardised=True).sum() == pytest.approx(50 * 20)


def test_scores_and_rotated_scores():
    matrix = RNG(5).standard_normal((80, 30)) * np.r_[9.0, 5.0, np.ones(28)]
    points = pca.scores(matrix)
    np.testing.assert_allclose((points**2).sum(axis=0), pca.eigenvalues(matrix)[:2])
    turned = pca.rotated_scores(points, RNG(6))
    np.testing.assert_allclose((turned**2).sum(axis=0), (points**2).sum(axis=0))
    np.testing.assert_allclose(turned.mean(axis=0), 0, atol=1e-12)
    assert abs(np.sum(turned[:, 0] * turned[:, 1])) < 1e-9


def test_clusters_of_rows_stand_out_against_rotated_weights():
    rng = RNG(7)
    centres = np.array([[8.0, 0], [-8.0, 0], [0.0, 8.0]])[np.arange(90) % 3]
    rows = np.concatenate([centres, np.zeros((90, 30))], axis=1) + rng.standard_normal((90, 32))
    for matrix, stands_out in ((rows, True), (RNG(101).standard_normal((90, 32)), False)):
        points = pca.scores(matrix)
        copies = [pca.best_silhouette(pca.rotated_scores(points, RNG(s))) for s in range(19)]
        assert (pca.best_silhouette(points) > max(copies)) is stands_out
    assert pca.best_silhouette(pca.scores(rows)) > 0.8


def _heads(groups, noise, seed=0, wide=96, size=8):
    """Eight heads whose operators share a common part within each group."""
    rng = RNG(seed)
    of = np.arange(8) % groups
    made = []
    for _ in range(4):
        common = rng.standard_normal((groups, wide, size))
        made.append((common[of] + noise * rng.standard_normal((8, wide, size))).transpose(1, 0, 2))
    return hd.HeadWeights(*(m.astype(np.float32) for m in made)), of


@pytest.mark.parametrize("operator", hd.OPERATORS)
def test_two_groups_of_heads_are_found(operator):
    from scipy.cluster.hierarchy import fcluster

    weights, of = _heads(2, 0.5)
    observed = hd.cluster(hd.head_distances(weights, operator))
    labels = fcluster(observed.linkage, 2, "maxclust")
    assert len({tuple(pair) for pair in zip(labels, of, strict=True)}) == 2
    rotated = [hd.rotated_distances(weights, operator, RNG(s)) for s in range(19)]
    references = [hd.cluster(distances) for distances in rotated]
    measured, clusters = hd.gap(observed, references)
    assert clusters == 2
    assert measured > 0.2
    assert observed.cophenetic > max(r.cophenetic for r in references)
    assert observed.cophenetic > 0.95


def test_heads_without_groups_have_no_gap():
    weights, _ = _heads(8, 1.0, seed=3)
    copies = [hd.cluster(hd.rotated_distances(weights, "qk", RNG(s))) for s in range(19)]
    observed = hd.cluster(hd.head_distances(weights, "qk"))
    spread = [hd.gap(c, [o for o in copies if o is not c])[0] for c in copies]
    assert hd.gap(observed, copies)[0] <= max(spread)


def test_distances_do_not_depend_on_the_basis_inside_a_head():
    weights, _ = _heads(3, 0.7)
    rng = RNG(9)
    turned = {"query": [], "key": [], "value": [], "output": []}
    for head in range(8):
        for first, second in (("query", "key"), ("value", "output")):
            m = rng.standard_normal((8, 8)) + 4 * np.eye(8)
            turned[first].append(getattr(weights, first)[:, head] @ m)
            turned[second].append(getattr(weights, second)[:, head] @ np.linalg.inv(m).T)
    other = hd.HeadWeights(**{k: np.stack(v, axis=1) for k, v in turned.items()})
    for operator in hd.OPERATORS:
        np.testing.assert_allclose(
            hd.head_cosines(other, operator), hd.head_cosines(weights, operator), atol=1e-5
        )


def test_rotations_keep_lengths_and_end_relations():
    weights, _ = _heads(2, 0.2)
    rng = RNG(1)
    factors = (weights.query, weights.key, weights.value, weights.output)
    copy = hd.HeadWeights(*(hd.rotated(one, rng) for one in factors))
    for name in ("query", "key", "value", "output"):
        for head in range(8):
            before = np.linalg.svd(getattr(weights, name)[:, head], compute_uv=False)
            after = np.linalg.svd(getattr(copy, name)[:, head], compute_uv=False)
            np.testing.assert_allclose(after, before, rtol=1e-4)
    alike = hd.head_cosines(weights, "ov")[0, 2]
    assert alike > 0.7 > 0.2 > abs(hd.head_cosines(copy, "ov")[0, 2])


def test_heads_that_share_a_key_keep_sharing_it():
    rng = RNG(11)
    query, output = rng.standard_normal((2, 64, 4, 8)).astype(np.float32)
    key, value = rng.standard_normal((2, 64, 2, 8)).astype(np.float32)
    weights = hd.HeadWeights(query, key, value, output)
    whole = hd.HeadWeights(query, key.repeat(2, axis=1), value.repeat(2, axis=1), output)
    for operator in hd.OPERATORS:
        np.testing.assert_allclose(
            hd.head_cosines(weights, operator), hd.head_cosines(whole, operator), atol=1e-6
        )


def test_the_study_slices_are_queries_keys_and_values():
    # Three values for Q, K and V: its "clusters of heads" are these three kinds of weights.
    matrix = np.repeat([1.0, 1.5, 9.0], 24)[None, :] + 0.01 * RNG(0).standard_normal((40, 72))
    assert hd.slices_cophenetic(matrix.astype(np.float32), 12) > 0.9
    assert np.isnan(hd.slices_cophenetic(matrix.astype(np.float32), 11))


def test_few_heads_and_flat_scatters_have_no_number():
    weights, _ = _heads(2, 0.5)
    factors = [getattr(weights, name) for name in ("query", "key", "value", "output")]
    one = hd.HeadWeights(*(factor[:, :1] for factor in factors))
    alone = hd.cluster(hd.head_distances(one, "qk"))
    assert np.isnan(alone.cophenetic)
    assert hd.gap(alone, [alone])[1] == 1
    pair = hd.HeadWeights(*(factor[:, :2] for factor in factors))
    two = hd.cluster(hd.head_distances(pair, "ov"))
    assert np.isnan(two.cophenetic)
    assert hd.gap(two, [two]) == (0.0, 1)
    assert np.isnan(pca.best_silhouette(np.zeros((20, 2))))
