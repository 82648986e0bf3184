"""Alignment of representations against the published formulas, planted truth and real twins."""

import numpy as np
import pytest
import torch

from refutable.errors import NotAvailableError
from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.similarity import alignment as similarity
from refutable.observables.similarity.alignment import debiased_cka, plain_cka
from refutable.spec.prompts import read_prompts

TWIN = "twin-layernorm-both-0"


def test_independent_gaussians_are_not_alike_in_the_debiased_form():
    random = np.random.default_rng(1)
    pairs = [random.standard_normal((2, 20, 768)) for _ in range(100)]
    assert abs(np.mean([debiased_cka(x, y) for x, y in pairs])) < 0.03
    assert np.mean([plain_cka(x, y) for x, y in pairs]) == pytest.approx(0.974, abs=0.005)


def song(x, y):
    """The unbiased HSIC as Song et al. print it."""
    k, m, n = x @ x.T, y @ y.T, len(x)
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(m, 0.0)
    one = np.ones(n)
    whole = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + whole - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_both_forms_are_the_published_formulas():
    random = np.random.default_rng(2)
    x = random.standard_normal((12, 5)) + 3.0
    y = np.tanh(x @ random.standard_normal((5, 7))) + random.standard_normal((12, 7))
    wanted = song(x, y) / np.sqrt(song(x, x) * song(y, y))
    assert debiased_cka(x, y) == pytest.approx(wanted, rel=1e-9)
    a, b = x - x.mean(0), y - y.mean(0)
    norms = [np.linalg.norm(one.T @ other) for one, other in ((a, b), (a, a), (b, b))]
    assert plain_cka(x, y) == pytest.approx(norms[0] ** 2 / (norms[1] * norms[2]), rel=1e-9)


def test_a_shared_signal_is_found_whatever_the_number_of_rows():
    random = np.random.default_rng(3)
    turned = np.linalg.qr(random.standard_normal((300, 300)))[0]

    def mean(form, rows):
        measured = []
        for _ in range(40):
            signal = random.standard_normal((rows, 100)) * np.sqrt(2)
            x, y = (np.c_[signal, random.standard_normal((rows, 200))] for _ in range(2))
            measured.append(form(x, 3 * y @ turned + 5))
        return np.mean(measured)

    # Covariances 2 in the 100 shared dims, 1 in 200 others: 100 * 4 / (100 * 4 + 200).
    assert mean(debiased_cka, 24) == pytest.approx(2 / 3, abs=0.02)
    assert mean(debiased_cka, 60) == pytest.approx(2 / 3, abs=0.02)
    assert mean(plain_cka, 24) > 0.9


def test_what_does_not_vary_or_has_too_few_rows_has_no_alignment():
    x = np.random.default_rng(4).standard_normal((8, 3))
    assert debiased_cka(x, 2 * x - 1) == pytest.approx(1.0)
    assert np.isnan(debiased_cka(x, np.ones((8, 3))))
    assert np.isnan(debiased_cka(x[:3], x[:3]))
    with pytest.raises(ValueError, match="as many rows"):
        plain_cka(x, x[:7])


def test_a_draw_has_one_prompt_of_each_family_and_no_prompt_comes_twice():
    families = ["a", "b", "a", "b", "a", "c", "c", "b"]
    assert similarity.draws(families) == [[0, 1, 5], [2, 3, 6]]
    assert len(similarity.draws(["a", "b"] * 9)) == similarity.MOST_DRAWS


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "few.toml"
    words = ["the king", "her sister", "a machine", "their house", "no letter", "some men"]
    tables = [
        f'[[family]]\nname = "f{i}"\nprompts = ["And {w} went", "But then, {w}", "Of {w} and"]\n'
        for i, w in enumerate(words)
    ]
    path.write_text('name = "few"\n' + "".join(tables), encoding="utf-8")
    return read_prompts(path)


@pytest.fixture(scope="module")
def twin():
    return load(resolve(TWIN))


def last_vectors(loaded, encoded, layer):
    """Residual stream after a block at the last token, prompt by prompt."""
    rows = []
    handle = loaded.model.transformer.h[layer].register_forward_hook(
        lambda m, i, o: rows.append((o[0] if isinstance(o, tuple) else o)[0, -1].double())
    )
    with torch.no_grad():
        for ids in encoded.ids:
            loaded.model(input_ids=torch.tensor([ids]))
    handle.remove()
    return torch.stack(rows).numpy()


def test_twins_are_compared_block_by_block_with_those_of_seed_0(twin, prompts):
    encoded = encode(prompts, twin.tokenizer, twin.facts, "bos")
    values = similarity.representation_alignment(twin, encoded)
    assert dict(values.sizes) == {
        "estimator": 2, "reference": 9, "reference_layer": 6, "layer": 6
    }  # fmt: skip
    itself = values.sel(reference="layernorm-both").values
    np.testing.assert_allclose(np.diagonal(itself, axis1=1, axis2=2), 1.0, atol=1e-5)
    none = load(resolve("twin-none-0"))
    of_twin, of_other = last_vectors(twin, encoded, 4), last_vectors(none, encoded, 2)
    for name, form in (("debiased", debiased_cka), ("plain", plain_cka)):
        wanted = np.mean([form(of_twin[k::3], of_other[k::3]) for k in range(3)])
        got = values.sel(estimator=name, reference="none", reference_layer=2, layer=4)
        assert float(got) == pytest.approx(wanted, abs=1e-4)
    noise = values.sel(reference="gaussian")
    assert abs(float(noise.sel(estimator="debiased").mean())) < 0.1
    assert float(noise.sel(estimator="plain").mean()) > 0.4
    assert float(noise.std("reference_layer").min()) > 0


def test_another_vocabulary_reads_the_same_text(twin, prompts):
    other = load(resolve("tiny-layernorm"))
    asked = similarity._Prompts.of(other, encode(prompts, other.tokenizer, other.facts, "bos"))
    wanted = encode(prompts, twin.tokenizer, twin.facts, "bos")
    assert asked.encoded.ids != wanted.ids
    assert asked.read_by(twin) == wanted
    blind = similarity._Prompts(asked.encoded, None, "another")
    with pytest.raises(NotAvailableError, match="another vocabulary"):
        blind.read_by(twin)
