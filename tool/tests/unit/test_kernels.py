"""What any two models can be aligned from, against alignment computed from the vectors."""

import numpy as np
import pytest
import xarray as xr

from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.similarity import kernels
from refutable.observables.similarity.alignment import debiased_cka, draws, last_residuals
from refutable.spec.prompts import read_prompts

FAMILIES, DRAWS = 7, 2


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "few.toml"
    words = ["the king", "her sister", "a machine", "their house", "no letter", "some men", "it"]
    tables = [
        f'[[family]]\nname = "f{i}"\nprompts = ["And {w} went", "But then, {w}"]\n'
        for i, w in enumerate(words)
    ]
    path.write_text('name = "few"\n' + "".join(tables), encoding="utf-8")
    return read_prompts(path)


@pytest.fixture(scope="module")
def measured(prompts):
    """Kernel and vectors, (draw, layer, row, dim), of two twins."""
    actual = []
    for name in ("twin-layernorm-both-0", "twin-none-0"):
        twin = load(resolve(name))
        encoded = encode(prompts, twin.tokenizer, twin.facts, "no-bos")
        vectors = last_residuals(twin, encoded)
        rows = np.stack([vectors[taken].swapaxes(0, 1) for taken in draws(encoded.families)])
        actual.append((kernels.representation_kernel(twin, encoded), rows))
    return actual


def test_the_inner_product_of_two_models_is_their_alignment(measured):
    (kernel, some), (other_kernel, others) = measured
    assert dict(kernel.sizes) == {"draw": DRAWS, "layer": 6, "pair": 21}
    assert kernels.families_of(kernel) == FAMILIES
    np.testing.assert_allclose((kernel**2).mean("pair"), 1.0, rtol=1e-5)
    expected = np.mean(
        [debiased_cka(some[d, b], others[d, b]) for d in range(DRAWS) for b in range(6)]
    )
    actual = kernels.alignment_features(kernel) @ kernels.alignment_features(other_kernel)
    assert actual == pytest.approx(expected, abs=1e-5)
    assert 0.1 < actual < 0.95
    itself = kernels.alignment_features(kernel)
    assert itself @ itself == pytest.approx(1.0)


@pytest.mark.parametrize("family", [0, 3, 6])
def test_a_family_that_is_left_out_is_out_of_every_sum(measured, family):
    (kernel, some), (other_kernel, others) = measured
    kept = np.delete(np.arange(FAMILIES), family)
    expected = np.mean(
        [debiased_cka(some[d, b][kept], others[d, b][kept]) for d in range(DRAWS) for b in range(6)]
    )
    left, right = (kernels.alignment_features(k, family) for k in (kernel, other_kernel))
    assert left @ right == pytest.approx(expected, abs=1e-5)


def test_too_few_families_and_what_does_not_vary_have_no_alignment(measured):
    few = measured[0][0].isel(pair=slice(0, 6))
    assert kernels.families_of(few) == 4
    assert np.isfinite(kernels.alignment_features(few)).all()
    assert np.isnan(kernels.alignment_features(few, 0)).all()
    flat = xr.zeros_like(measured[0][0])
    assert np.isnan(kernels.alignment_features(flat)).all()


def test_all_pairs_together_are_what_vectors_give(measured):
    models = [kernel for kernel, _ in measured]
    models += [-models[0], models[0] + models[1], xr.zeros_like(models[0])]
    alignments = kernels.alignments(models)
    assert alignments.shape == (1 + FAMILIES, 5, 5)
    for place, left_out in enumerate((None, *range(FAMILIES))):
        vectors = np.array([kernels.alignment_features(m, left_out) for m in models])
        np.testing.assert_allclose(alignments[place], vectors @ vectors.T, atol=1e-12)
    assert np.isnan(alignments[:, 4]).all()
    assert np.isfinite(alignments[:, :4, :4]).all()
    few = kernels.alignments([m.isel(pair=slice(0, 6)) for m in models])
    assert np.isfinite(few[0, :4, :4]).all()
    assert np.isnan(few[1:]).all()
