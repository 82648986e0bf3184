"""Observables of the norm-ablation study against independent implementations."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon
from support.architectures import VOCAB, build

from refutable.capture.measure import measure
from refutable.errors import NotAvailableError
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables import gradients
from refutable.observables.prose import text
from refutable.observables.registry import REGISTRY
from refutable.predictions import Measured, contrast

LENGTHS = (9, 3, 14, 2, 22)


def encoded() -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in LENGTHS)
    names = tuple(f"f/{i}" for i in range(len(LENGTHS)))
    return Encoded(ids, names, ("f",) * len(LENGTHS), "no-bos", None)


ATTENTION = ("attention_entropy_rest", "attention_head_distance")
MOMENTS = ("residual_mean", "residual_log_variance", "residual_skewness",
           "residual_excess_kurtosis")  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return build("gpt2")


@pytest.fixture(scope="module")
def alone(model):
    """Patterns and residual streams of each prompt by itself, as transformers gives them."""
    model.set_attn_implementation("eager")
    measured = []
    for ids in encoded().ids:
        streams: list[np.ndarray] = []
        handles = [
            block.register_forward_hook(lambda m, i, o, s=streams: s.append(o[0].double().numpy()))
            for block in model.transformer.h
        ]
        out = model(input_ids=torch.tensor([ids]), output_attentions=True)
        for handle in handles:
            handle.remove()
        measured.append(([a[0].double().numpy() for a in out.attentions], streams))
    return measured


@pytest.mark.parametrize("layout", ["packed", "padded", "single"])
def test_attention_and_moments_against_scipy(model, alone, layout):
    items = [REGISTRY[name] for name in (*ATTENTION, *MOMENTS)]
    measured = measure(model, find_sites(model), encoded(), items, layout=layout)
    for at, (patterns, streams) in enumerate(alone):
        for layer, (pattern, stream) in enumerate(zip(patterns, streams, strict=True)):
            heads, rows = pattern.shape[:2]
            got = {name: np.asarray(measured[name].values[at, layer]) for name in measured}
            rest = [
                np.mean([stats.entropy(pattern[h, t, 1 : t + 1]) / math.log(t)
                         for t in range(2, rows)])
                for h in range(heads)
            ] if rows > 2 else [np.nan] * heads  # fmt: skip
            np.testing.assert_allclose(got["attention_entropy_rest"], rest, rtol=2e-3, atol=1e-4)
            apart = [
                np.mean([jensenshannon(pattern[h, t], pattern[g, t], base=2)
                         for g in range(heads) if g != h for t in range(1, rows)])
                for h in range(heads)
            ]  # fmt: skip
            np.testing.assert_allclose(got["attention_head_distance"], apart, rtol=5e-3, atol=2e-3)
            tokens = stream[1:]
            expected = {
                "residual_mean": tokens.mean(1).mean(),
                "residual_log_variance": np.log(tokens.var(1)).mean(),
                "residual_skewness": stats.skew(tokens, axis=1).mean(),
                "residual_excess_kurtosis": stats.kurtosis(tokens, axis=1).mean(),
            }
            for name, value in expected.items():
                assert got[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_slope_of_log_variance_by_hand():
    import xarray as xr

    values = xr.DataArray(
        [[1.0, 3.0, 5.0], [2.0, 2.0, 2.0], [0.0, 1.0, -1.0]],
        dims=("prompt", "layer"),
        coords={"layer": [0, 1, 2]},
    )
    slopes = REGISTRY["log_variance_slope"].function(values)
    assert slopes.values.tolist() == pytest.approx([2.0, 0.0, -0.5])


WORDS = " ".join(f"word{i}" for i in range(200))


@pytest.mark.parametrize(("rate", "changed"), [(0.0, 0), (0.05, 10), (0.1, 20), (0.2, 40)])
@pytest.mark.parametrize("noise", [text.noisy_words, text.swapped_characters])
def test_noise_changes_the_stated_share_of_words(noise, rate, changed):
    after = noise(WORDS, rate, seed=3).split(" ")
    assert len(after) == 200
    assert sum(a != b for a, b in zip(after, WORDS.split(" "), strict=True)) == changed
    assert after == noise(WORDS, rate, seed=3).split(" ")


def test_a_swap_keeps_the_letters_and_a_replacement_is_a_word_of_the_text():
    swapped = text.swapped_characters(WORDS, 0.5, seed=1).split(" ")
    for a, b in zip(swapped, WORDS.split(" "), strict=True):
        assert sorted(a) == sorted(b)
    assert set(text.noisy_words(WORDS, 0.5, seed=1).split(" ")) <= set(WORDS.split(" "))
    assert text.swapped_characters("aa bb c", 1.0, seed=0) == "aa bb c"


class Letters:
    """Reads letters as token ids."""

    def __call__(self, string, add_special_tokens, verbose):
        return {"input_ids": [ord(c) % VOCAB for c in string]}


class Subject:
    """The fields of a loaded model that these experiments read."""

    def __init__(self, model):
        self.model, self.tokenizer, self.device = model, Letters(), "cpu"
        self.facts = type("Facts", (), {"context": 20, "d_vocab": VOCAB})()
        self.spec = type("Spec", (), {"id": "random"})()


PROSE = ["In the beginning was the word. " * 4, "Call me what you will, said she. " * 4]


def test_document_losses_are_the_models_own(model):
    document_losses = text.document_losses(Subject(model), PROSE)
    for prose, value in zip(PROSE, document_losses, strict=True):
        ids = torch.tensor([ord(c) % VOCAB for c in prose[: 20 * text.WINDOWS]]).reshape(-1, 20)
        losses = [float(model(input_ids=row[None], labels=row[None]).loss) for row in ids]
        assert value == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_text_shorter_than_a_window_is_refused(model):
    with pytest.raises(NotAvailableError, match="shorter than 20 tokens"):
        text.windows_of(Subject(model), "too short")


def test_relative_gradients_against_autograd_by_hand(model, monkeypatch):
    monkeypatch.setattr(gradients, "documents", lambda: (["a", "b"], PROSE))
    values = gradients.relative_gradient_norm(Subject(model), None)
    assert values.shape == (2, 3)
    assert not any(p.requires_grad for p in model.parameters())
    import copy

    twin = copy.deepcopy(model).requires_grad_(True)
    ids = torch.tensor([ord(c) % VOCAB for c in PROSE[1][: 20 * text.WINDOWS]]).reshape(-1, 20)
    twin(input_ids=ids, labels=ids).loss.backward()
    matrices = [p for n, p in twin.transformer.h[2].named_parameters() if p.dim() == 2]
    gradient = torch.cat([p.grad.flatten() for p in matrices]).norm()
    weight = torch.cat([p.detach().flatten() for p in matrices]).norm()
    assert float(values[1, 2]) == pytest.approx(math.log(gradient / weight), abs=1e-4)


def test_a_contrast_of_numbers_has_the_seeds_as_its_units():
    first = {seed: np.float64(x) for seed, x in enumerate([2.1, 2.3, 1.9, 2.2, 2.0, 2.4])}
    second = {seed: np.float64(x) for seed, x in enumerate([1.0, 1.1, 1.1, 1.0, 0.9, 1.2])}
    made = (
        contrast("a", "b")
        .above(0.3)
        .judge(Measured({"a": first, "b": second}, error=0.0, seed=0, unit="x"))
    )
    differences = np.array([1.1, 1.2, 0.8, 1.2, 1.1, 1.2])
    low, high = stats.t.interval(
        0.95, 5, differences.mean(), differences.std(ddof=1) / math.sqrt(6)
    )
    assert (made.estimate.value, made.estimate.low, made.estimate.high) == pytest.approx(
        (differences.mean(), low, high)
    )
    assert made.estimate.seeds == 6
    assert made.decision.verdict == "confirmed"
    few = {seed: first[seed] for seed in range(3)}
    made = (
        contrast("a", "b")
        .above(0.5)
        .judge(Measured({"a": few, "b": second}, error=0.0, seed=0, unit=""))
    )
    assert made.decision.verdict == "inconclusive"
