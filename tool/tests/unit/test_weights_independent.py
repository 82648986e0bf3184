"""The quantities of the study once more, by a plain numpy script that shares no code: to 1e-5."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from refutable.models.weights.reading import WeightReader
from refutable.observables.weights import distribution, heads, pca, positions

D, H, L = 32, 4, 2
BY_HAND = {"rel": 1e-5, "abs": 1e-5}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    config = GPT2Config(
        n_embd=D, n_head=H, n_layer=L, vocab_size=60, n_positions=48, bos_token_id=0, eos_token_id=1
    )
    made = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in made.parameters():  # heavy tails and a mean, so that nothing is near 0
            parameter.copy_(torch.randn_like(parameter) ** 3 * 0.1 + 0.02)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def reader(model):
    return WeightReader.from_state_dict(model.state_dict(), model.config)


@pytest.fixture(scope="module")
def state(model):
    return {k: v.numpy().astype(float) for k, v in model.state_dict().items()}


def _c_attn(state, layer):
    return state[f"transformer.h.{layer}.attn.c_attn.weight"]


def _close(measured, expected):
    np.testing.assert_allclose(measured, expected, rtol=1e-5, atol=1e-5)


def test_distribution(reader, state):
    x = np.sort(_c_attn(state, 1)[:, D : 2 * D].ravel())  # keys
    z = (x - x.mean()) / x.std()
    cdf = np.array([0.5 * (1 + erf(v / 2**0.5)) for v in z])
    steps = np.arange(x.size + 1) / x.size
    ks = max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())
    expected = [x.mean(), x.std(), x[0], x[-1], (z**3).mean(), (z**4).mean() - 3, ks]
    _close(distribution.describe(reader.matrix(1, "k")), expected)
    _close(
        distribution.row_variances(reader.matrix(0, "out")),
        [row.var() for row in state["transformer.h.0.mlp.c_proj.weight"]],
    )


def test_spectrum(reader, state):
    matrix = _c_attn(state, 0)
    singular = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False) ** 2
    share = np.cumsum(singular) / singular.sum()
    expected = [
        1 / ((singular / singular.sum()) ** 2).sum(),
        (D - 1) * 3 * D / ((D - 1) + 3 * D + 1),
        share[0],
        share[1],
        1 + (share < 0.5).sum(),
        1 + (share < 0.9).sum(),
    ]
    _close(pca.spectrum_measures(reader.attention_input(0)), expected)
    scaled = (matrix - matrix.mean(0)) / matrix.std(0)
    by_svd = np.linalg.svd(scaled, compute_uv=False) ** 2
    _close(pca.eigenvalues(reader.attention_input(0), standardised=True), by_svd)


def test_positions(reader, state):
    table = state["transformer.wpe.weight"]
    n, t = len(table), np.arange(len(table))
    fit = positions.fit_sinusoids(reader.position_table())
    for dim in (0, 5, 31):
        y = table[:, dim]
        total = ((y - y.mean()) ** 2).sum()
        frequency = 1 / fit.period[dim]
        design = np.stack(
            [t**0, t, np.cos(2 * np.pi * frequency * t), np.sin(2 * np.pi * frequency * t)], axis=1
        )
        for columns, measured in ((2, fit.r2_line[dim]), (4, fit.r2[dim])):
            rest = y - design[:, :columns] @ np.linalg.lstsq(design[:, :columns], y)[0]
            assert measured == pytest.approx(1 - (rest**2).sum() / total, **BY_HAND)
        others = []
        for f in np.linspace(1 / n, 0.5, 4000):
            design[:, 2:] = np.stack([np.cos(2 * np.pi * f * t), np.sin(2 * np.pi * f * t)], axis=1)
            rest = y - design @ np.linalg.lstsq(design, y)[0]
            others.append(1 - (rest**2).sum() / total)
        assert fit.r2[dim] >= max(others) - 2e-3
    centred = table - table.mean(0)
    power = np.array(
        [abs((centred * np.exp(-2j * np.pi * k * t / n)[:, None]).sum(0)) ** 2 for k in range(1, n)]
    )
    power = power[: n // 2 - 1] + power[: n // 2 - 1 : -1]
    middle = abs((centred * (-1.0) ** t[:, None]).sum(0)) ** 2
    power = np.concatenate([power, middle[None]])
    _close(
        positions.top_fourier_share(reader.position_table()),
        np.sort(power, axis=0)[-3:].sum(0) / power.sum(0),
    )
    for kind, prepared in (
        ("raw", table),
        ("centred", centred),
        ("standardised", centred / table.std(0)),
    ):
        expected = [np.corrcoef(prepared[i], prepared[i + 1])[0, 1] for i in range(n - 1)]
        _close(positions.adjacent_correlation(reader.position_table(), kind), expected)


def _ward_by_hand(distance):
    """Naive Ward linkage: merge heights, and the height at which each pair meets."""
    groups = {i: [i] for i in range(len(distance))}
    squared = {(i, j): distance[i, j] ** 2 for i in groups for j in groups if i < j}
    meet, heights = np.zeros_like(distance), []
    while len(groups) > 1:
        (a, b), best = min(squared.items(), key=lambda item: item[1])
        heights.append(best**0.5)
        for i in groups[a]:
            for j in groups[b]:
                meet[i, j] = meet[j, i] = best**0.5
        for c in groups:
            if c in (a, b):
                continue
            na, nb, nc = len(groups[a]), len(groups[b]), len(groups[c])
            ac, bc = squared.pop(tuple(sorted((a, c)))), squared.pop(tuple(sorted((b, c))))
            new = ((na + nc) * ac + (nb + nc) * bc - nc * best) / (na + nb + nc)
            squared[tuple(sorted((a, c)))] = new
        squared.pop((a, b))
        groups[a] = groups[a] + groups.pop(b)
        squared = {pair: v for pair, v in squared.items() if b not in pair}
    return heights, meet


def test_heads(reader, state):
    size = D // H
    w = _c_attn(state, 1)
    q, k, v = (w[:, i * D : (i + 1) * D] for i in range(3))
    o = state["transformer.h.1.attn.c_proj.weight"]
    cut = [slice(h * size, (h + 1) * size) for h in range(H)]
    operators = {
        "qk": [q[:, s] @ k[:, s].T for s in cut],
        "ov": [v[:, s] @ o[s] for s in cut],
    }
    weights = heads.head_weights(reader, 1)
    for name, products in operators.items():
        unit = [p / np.linalg.norm(p) for p in products]
        distance = np.array([[np.linalg.norm(a - b) for b in unit] for a in unit])
        _close(heads.head_distances(weights, name), distance)
        heights, meet = _ward_by_hand(distance)
        clustering = heads.cluster(heads.head_distances(weights, name))
        upper = np.triu_indices(H, 1)
        _close(clustering.linkage[:, 2], heights)
        _close(clustering.cophenetic, np.corrcoef(meet[upper], distance[upper])[0, 1])
        sums = [sum(h**2 / 2 for h in heights[: H - c]) for c in range(1, H)]
        _close(clustering.log_within, np.log(sums))
