"""Words of token sequences, and heads that attend along them."""

import numpy as np
import pytest
import torch
import xarray as xr
from support.architectures import VOCAB, build

from refutable.observables.prose import syntax


@pytest.mark.parametrize(
    ("pieces", "starts"),
    [
        (["Ġthe", "Ġun", "ra", "vel", "ling", ",", "Ġand"], [0, 1, 1, 1, 1, 5, 6]),
        (["▁Don", "'", "t", "▁go", "ing"], [0, 1, 2, 3, 3]),
        (["in", "g", "Ċ", "No", "w"], [0, 0, 2, 3, 3]),
        (["a ", "b", "c"], [0, 1, 1]),
    ],
)
def test_words_of_tokens(pieces, starts):
    assert syntax.word_starts(pieces).tolist() == starts


STARTS = np.array([0, 1, 1, 1, 4, 5, 5, 7, 8, 8])


def test_arcs_and_their_controls_have_the_same_distances():
    arcs, elsewhere = (w[0].numpy() for w in syntax.arc_weights([STARTS], 10))
    queries, keys = np.nonzero(arcs)
    assert list(zip(queries, keys, strict=True)) == [(2, 1), (3, 1), (6, 5), (9, 8)]
    assert arcs.sum() == pytest.approx(1.0)
    assert elsewhere.sum() == pytest.approx(1.0)
    for distance in range(10):
        assert np.trace(arcs, -distance) == pytest.approx(np.trace(elsewhere, -distance))
    assert not (arcs * elsewhere).any()
    assert not arcs[:, 0].any()
    assert not elsewhere[:, 0].any()


def pattern_of(rule):
    """A causal pattern that gives each query's favourite key .8 and the rest evenly."""
    size = len(STARTS)
    pattern = np.tril(np.ones((size, size)))
    pattern = 0.2 * pattern / pattern.sum(1, keepdims=True)
    for query in range(size):
        pattern[query, rule(query)] += 0.8
    return torch.tensor(pattern)[None, None].float()


def test_a_word_head_scores_and_a_previous_token_head_does_not():
    arcs, elsewhere = syntax.arc_weights([STARTS], 10)

    def excess(rule):
        return float(torch.einsum("thqk,tqk->", pattern_of(rule), arcs - elsewhere))

    assert excess(lambda q: int(STARTS[q])) > 0.75
    assert abs(excess(lambda q: max(q - 1, 0))) < 0.05
    assert abs(excess(lambda q: 0)) < 0.05


def test_the_head_is_chosen_on_the_even_texts_and_read_on_the_odd_ones():
    values = np.zeros((6, 2, 2))
    values[::2, 1, 0] = 0.3
    values[1::2, 1, 0] = [0.1, 0.2, np.nan]
    values[1::2, 0, 1] = 0.9
    names = [f"t{i}" for i in range(6)]
    array = xr.DataArray(
        values, dims=("text", "layer", "head"),
        coords={"text": names, "family": ("text", names), "layer": [0, 1], "head": [0, 1]},
    )  # fmt: skip
    measured = syntax.best_elsewhere(array)
    assert measured.dims == ("text",)
    assert measured.values.tolist() == [0.1, 0.2]
    assert measured["family"].values.tolist() == ["t1", "t3"]


class Letters:
    """Reads letters as tokens."""

    def __call__(self, string, **how):
        return {"input_ids": [ord(c) % VOCAB for c in string]}

    def convert_ids_to_tokens(self, ids):
        return ["Ġx" if i % 3 == 0 else "y" for i in ids]


class Subject:
    def __init__(self, model):
        self.model, self.tokenizer, self.device = model, Letters(), "cpu"
        self.facts = type("Facts", (), {"context": 20, "blocks": 3, "heads": 4})()
        self.spec = type("Spec", (), {"id": "random", "seed": 0})()
        self.weights_digest = "that of a model"

    def reader(self):
        return self.tokenizer


def test_maps_and_arcs_are_those_of_eager_attention():
    from refutable.observables.prose.text import documents

    model = build("gpt2")
    subject = Subject(model)
    values = syntax.attention_map(subject, None)
    arcs = syntax.word_arcs(subject, None)
    texts = documents()[1]
    ids = torch.tensor([[ord(c) % VOCAB for c in text[:20]] for text in texts])
    model.set_attn_implementation("eager")
    patterns = model(input_ids=ids, output_attentions=True).attentions
    assert values.sizes["query"] == syntax.MAP_TOKENS
    for layer in range(3):
        expected = patterns[layer][:, :, :16, :16].mean(0)
        np.testing.assert_allclose(values.sel(layer=layer), expected, atol=1e-5)
    starts = syntax.word_starts(subject.tokenizer.convert_ids_to_tokens(ids[3].tolist()))
    on, off = syntax.arc_weights([starts], 20)
    by_hand = (patterns[2][3] * (on - off)).sum((1, 2))
    np.testing.assert_allclose(arcs.isel(text=3, layer=2), by_hand.detach(), atol=1e-5)
