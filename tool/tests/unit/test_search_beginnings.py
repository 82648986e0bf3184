"""Beginnings of candidates, scored in their passes, have the values that they have alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.planted_tokens import growth_claim, growth_of_long, planted, subject_of
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from refutable import Source, claim, every
from refutable.falsify.beginnings import Beginnings
from refutable.falsify.objective import Objective

SIZES: dict[str, int] = {"vocab_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}


def small(kind: str) -> Any:
    torch.manual_seed(0)
    shape = {**SIZES, "hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 1}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=3,
                                          n_head=2)).eval()  # fmt: skip
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=64)).eval()
    return GemmaForCausalLM(GemmaConfig(**shape, head_dim=16, max_position_embeddings=64)).eval()


def prompts(count: int = 24) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(map(int, rng.integers(1, 64, rng.integers(1, 12)))) for _ in range(count)]


def about(observable: str) -> Any:
    """Return a claim on the last block's value of an observable of the stream."""
    body = {
        "residual_norm": lambda residual_norm: residual_norm.isel(layer=-1, drop=True),
        "mean_log_residual_norm": lambda mean_log_residual_norm: mean_log_residual_norm,
        "ones_cosine": lambda ones_cosine: ones_cosine,
        "top_cosine_share": lambda top_cosine_share: top_cosine_share.fillna(0.0),
        "next_token_entropy": lambda next_token_entropy: next_token_entropy,
    }[observable]
    body.__name__ = body.__doc__ = f"test_{observable}"
    return claim(
        id=f"mine.{observable.replace('_', '-')}",
        statement="Small.",
        refuted_if="one is large",
        source=Source(study="mine", ref="M"),
        predicts=every.below(0.0),
    )(body).__claim__


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma"])
@pytest.mark.parametrize("layout", ["packed", "padded", "single"])
@pytest.mark.parametrize("bos", [None, 0])
def test_the_worst_beginning_is_that_of_all_scored_alone(
    kind: str, layout: str, bos: int | None
) -> None:
    subject = replace(subject_of(small(kind), bos=bos), layout=layout)
    alone, shared = (Objective(growth_claim(), subject) for _ in range(2))
    made = prompts()
    scoring = Beginnings(shared, 1)
    scored = scoring(made)
    assert scoring.problem == ""
    assert scoring.scored == sum(map(len, made))
    for ids, worst in zip(made, scored, strict=True):
        every_one = alone([ids[:n] for n in range(1, len(ids) + 1)], layout="single")
        assert worst.ids == ids[: len(worst.ids)]
        assert worst.margin == pytest.approx(max(o.margin for o in every_one), abs=1e-5)
        assert worst.value == pytest.approx(every_one[len(worst.ids) - 1].value, abs=1e-5)


@pytest.mark.parametrize(
    "observable",
    ["residual_norm", "mean_log_residual_norm", "ones_cosine", "top_cosine_share",
     "next_token_entropy"],
)  # fmt: skip
def test_whatever_is_read_at_single_tokens_is_the_same(observable: str) -> None:
    subject = subject_of(small("llama"))
    scoring = Beginnings(Objective(about(observable), subject), 2)
    alone = Objective(about(observable), subject)
    made = [ids for ids in prompts() if len(ids) >= 2]
    for worst in scoring(made):
        (by_itself,) = alone([worst.ids], layout="single")
        assert worst.value == pytest.approx(by_itself.value, rel=1e-4, abs=1e-5)
    assert scoring.problem == ""
    assert scoring.scored > len(made)


def test_a_model_that_looks_ahead_shares_no_passes() -> None:
    model = small("llama")

    def leak(module: Any, args: Any, output: Any) -> Any:
        # Every token gets something of the last token of its pass.
        return output + 0.5 * output[:, -1:]

    model.model.embed_tokens.register_forward_hook(leak)
    objective = Objective(growth_claim(), subject_of(model))
    scoring = Beginnings(objective, 1)
    scored = scoring(prompts())
    assert "differ" in scoring.problem
    assert [one.ids for one in scored] == prompts()
    assert scoring.scored == len(scored)


def test_patterns_are_scored_prompt_by_prompt() -> None:
    @claim(
        id="mine.first",
        statement="Little goes to the first token.",
        refuted_if="one prompt gives it more",
        source=Source(study="mine", ref="M"),
        predicts=every.below(0.0),
    )
    def body(attention_first: Any) -> Any:
        """Largest share over heads."""
        return attention_first.max(["layer", "head"]).fillna(0.0)

    scoring = Beginnings(Objective(body.__claim__, subject_of(planted([3, 5]))), 1)
    assert [one.ids for one in scoring(prompts(4))] == prompts(4)
    assert "single tokens" in scoring.problem


def test_prompts_outside_of_a_claims_domain_have_no_value() -> None:
    objective = Objective(growth_of_long(6), subject_of(planted([3, 5])))
    assert [one.margin for one in objective([(1, 2), (3, 4, 5)])] == [float("-inf")] * 2
    assert objective.undefined == 2
    (worst,) = Beginnings(objective, 1)([tuple(range(1, 12))])
    assert len(worst.ids) >= 6
