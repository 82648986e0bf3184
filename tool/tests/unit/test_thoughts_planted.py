"""Planted models: attention set by hand, and an answer that depends on thought 2 alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from refutable.models.encode import Encoded
from refutable.observables.thoughts.ablation import (
    INPUT,
    thought_importance,
    thought_pair_importance,
)
from refutable.observables.thoughts.attention import (
    attention_to_spans,
    keys_seen,
    span_lengths,
    thought_attention,
)

END = 9
LENGTHS = (3, 5)
SHARES = np.array([0.05, 0.30, 0.10, 0.25, 0.20, 0.10])


def encoded(prompts: list[tuple[int, ...]], answers: list[int]) -> Encoded:
    return Encoded(
        ids=tuple((*ids, END) for ids in prompts),
        prompt_ids=tuple(f"f{row}/0" for row in range(len(prompts))),
        families=tuple(f"f{row}" for row in range(len(prompts))),
        arm="no-bos",
        bos=None,
        spans=tuple({"begin": (len(ids) - 1,), "end": (len(ids),)} for ids in prompts),
        answers=tuple((answer,) for answer in answers),
    )


def empty_model(width: int, blocks: int) -> Any:
    """A GPT-2 of one head whose every weight is zero and whose norms scale by one."""
    config = GPT2Config(
        vocab_size=10, n_positions=16, n_embd=width, n_layer=blocks, n_head=1,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=9, use_cache=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    return model


def loaded(model: Any) -> Any:
    facts = SimpleNamespace(blocks=model.config.n_layer, d_vocab=10)
    return SimpleNamespace(model=model, facts=facts, spec=SimpleNamespace(id="planted"))


def attending_by_position(weights: np.ndarray[Any, Any]) -> Any:
    """A model whose block l attends to position p in proportion to weights[l, p].

    A position's embedding is (a, b, -a, -b), which the norm leaves as it is, with a holding
    block 0's log weight and b block 1's; the vectors are completed to one length by the rest.
    """
    model = empty_model(8, 2)
    scale = 20.0
    with torch.no_grad():
        for position in range(weights.shape[1]):
            a, b = np.log(weights[:, position]) * np.sqrt(8) / scale
            c = np.sqrt(4.0 - a**2 - b**2)
            row = torch.tensor([a, b, c, 0.0, -a, -b, -c, 0.0])
            model.transformer.wpe.weight[position] = row
        for layer, block in enumerate(model.transformer.h):
            # Queries are a constant, keys read one coordinate.
            block.attn.c_attn.bias[0] = scale
            block.attn.c_attn.weight[layer, 8] = 1.0
        # Thoughts are then zero: what is attended to is set by the positions alone.
        model.transformer.ln_f.weight.zero_()
    return model


@pytest.fixture(scope="module")
def measured() -> Any:
    """Shares of the six thoughts, and what was set; two prompts of different length."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1.5, (2, 16))
    prompts = [tuple(range(1, 1 + length)) for length in LENGTHS]
    subject = loaded(attending_by_position(weights))
    where = encoded(prompts, [1, 2])
    return subject, where, weights


def wanted(weights: Any, layer: int, length: int, shift: int = 0) -> Any:
    of_thoughts = weights[layer, length + shift : length + shift + 6]
    return of_thoughts / of_thoughts.sum()


def test_attention_set_by_hand_comes_back(measured: Any) -> None:
    subject, where, weights = measured
    shares = thought_attention(attention_to_spans(subject, where), span_lengths(subject, where))
    row = attention_to_spans(subject, where)
    for prompt, length in enumerate(LENGTHS):
        for layer in range(2):
            got = shares.isel(prompt=prompt, layer=layer, head=0).sel(received_from="answer")
            np.testing.assert_allclose(got, wanted(weights, layer, length), atol=1e-4)
            with pytest.raises(AssertionError):
                np.testing.assert_allclose(got, wanted(weights, layer, length, 1), atol=1e-4)
            seen = weights[layer, : length + 7]
            of_row = row.isel(prompt=prompt, layer=layer, head=0).sel(received_from="answer")
            np.testing.assert_allclose(
                of_row.sel(span=["t0", "t5", "begin", "end"]),
                seen[[length, length + 5, length - 1, length + 6]] / seen.sum(),
                atol=1e-4,
            )


def test_attention_from_all_later_positions(measured: Any) -> None:
    subject, where, weights = measured
    chosen = attention_to_spans(subject, where).sel(received_from="later").isel(head=0)
    for prompt, length in enumerate(LENGTHS):
        for thought in range(6):
            at = length + thought
            later = [
                weights[1, at] / weights[1, : query + 1].sum()
                for query in range(at + 1, length + 7)
            ]
            got = float(chosen.isel(prompt=prompt, layer=1).sel(span=f"t{thought}"))
            assert got == pytest.approx(np.mean(later), abs=1e-4)
    # Nothing lies behind the end token.
    assert np.isnan(chosen.sel(span="end")).all()


def test_the_published_procedure_gives_one_over_length_whatever_was_set(measured: Any) -> None:
    subject, where, _ = measured
    rows = attention_to_spans(subject, where).sel(received_from="published").isel(head=0)
    seen = keys_seen(subject, where)
    for prompt, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(seen[prompt], np.arange(length + 1, length + 7))
        for layer in range(2):
            got = rows.isel(prompt=prompt, layer=layer).sel(span=[f"t{n}" for n in range(6)])
            np.testing.assert_allclose(got, 1 / np.arange(length + 1, length + 7), atol=1e-6)


def depending_on_thought_2() -> Any:
    """A model that copies what thought 2 holds: the prompt's last token.

    Coordinates 0 to 8 hold the token, 10 and 11 mark the answer's position and that of thought 2
    (prompts have 2 tokens). The answer's query matches the mark of thought 2 alone.
    """
    model = empty_model(16, 1)
    with torch.no_grad():
        for token in range(9):
            model.transformer.wte.weight[token, token] = 4.0
            model.lm_head.weight[token, token] = 8.0
        model.transformer.wpe.weight[2 + 6, 10] = 4.0
        model.transformer.wpe.weight[2 + 2, 11] = 4.0
        # A thought does not take the marks of the position it came from along.
        model.transformer.ln_f.weight[9:] = 0.0
        attention = model.transformer.h[0].attn
        attention.c_attn.weight[10, 0] = 40.0
        attention.c_attn.weight[11, 16] = 40.0
        for token in range(9):
            attention.c_attn.weight[token, 32 + token] = 1.0
            attention.c_proj.weight[token, token] = 1.0
    return model


def test_importance_lies_in_the_one_thought_that_counts() -> None:
    prompts = [(0, token) for token in (1, 2, 3, 4, 5, 6)]
    subject = loaded(depending_on_thought_2())
    where = encoded(prompts, [1, 2, 3, 4, 5, 6])
    values = thought_importance(subject, where)
    for how in ("zero", "mean", "resampled"):
        lost = values.sel(replaced_by=how, place=INPUT)
        said = lost.sel(quantity="log-probability").mean("prompt")
        assert said[2] > 0.5
        np.testing.assert_allclose(said[[0, 1, 3, 4, 5]], 0.0, atol=1e-4)
    exact = values.sel(replaced_by="resampled", quantity="accuracy").mean("prompt")
    for place in (INPUT, "block 0"):
        np.testing.assert_array_equal(exact.sel(place=place), [0, 0, 1, 0, 0, 0])
    # Thought 2 is made from the ones before it, so those count while thoughts are run on.
    run_on = exact.sel(place="input, later thoughts recomputed")
    np.testing.assert_array_equal(run_on, [1, 1, 1, 0, 0, 0])


def test_pairs_lose_what_their_members_do() -> None:
    prompts = [(0, token) for token in (1, 2, 3, 4, 5, 6)]
    values = thought_pair_importance(
        loaded(depending_on_thought_2()), encoded(prompts, [1, 2, 3, 4, 5, 6])
    )
    lost = values.sel(quantity="accuracy").mean("prompt").values
    expected = np.zeros((6, 6))
    expected[2, :] = expected[:, 2] = 1.0
    np.testing.assert_array_equal(lost, expected)
