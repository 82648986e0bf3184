"""Model types at their limits, against plain hooks and the classes' own initialisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.planted import planted
from transformers import AutoModelForCausalLM

from refutable.capture.measure import measure
from refutable.capture.views import _next_token
from refutable.errors import NotAvailableError, PromptError
from refutable.measurement.instrument import check
from refutable.models.encode import Encoded, encode
from refutable.models.in_memory import adopt
from refutable.models.sites import find_sites
from refutable.models.small import VOCABULARY, build_small, small_config
from refutable.models.structure import find_structure
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import Prompt, PromptSet

ENTROPY = REGISTRY["next_token_entropy"]
NORMS = REGISTRY["residual_norm"]


def encoded(*lengths: int, seed: int = 2) -> Encoded:
    source = np.random.default_rng(seed)
    ids = tuple(tuple(int(i) for i in source.integers(4, VOCABULARY, n)) for n in lengths)
    names = tuple(f"f{at}/0" for at in range(len(ids)))
    return Encoded(ids, names, names, "no-bos", None)


def entropies(model: Any, prompts: Encoded) -> list[float]:
    numbers = []
    for ids in prompts.ids:
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        chances = logits.log_softmax(-1)
        numbers.append(float(-(chances.exp() * chances).nan_to_num().sum()))
    return numbers


def are_as_of_single_prompts(model: Any, prompts: Encoded, rtol: float) -> None:
    """The layout that the instrument's check chose gives what each prompt gives alone."""
    sites = find_sites(model)
    result = check(SimpleNamespace(model=model), sites, prompts, [ENTROPY])
    assert [c.detail for c in result.checks if not c.passed] == []
    values = measure(model, sites, prompts, [ENTROPY], layout=result.layout)
    np.testing.assert_allclose(
        values["next_token_entropy"].values, entropies(model, prompts), rtol=rtol
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "lost"),
    [
        ("gpt2", 0), ("llama", 0), ("opt", 0), ("mpt", 0), ("gpt_neo", 0), ("codegen", 0),
        ("xglm", 0), ("ctrl", 0), ("biogpt", 0), ("mbart", 0), ("roberta", 1), ("xlm-roberta", 1),
    ],
)  # fmt: skip
def test_a_prompt_as_long_as_the_context_is_measured_and_one_more_token_is_refused(
    model_type: str, lost: int
) -> None:
    config = small_config(model_type)
    config.is_decoder = True
    model = build_small(config)
    facts = adopt(model)[0].facts
    # Rows of the table that padding keeps are no positions (its id is 0 here).
    assert facts.context == 128 - lost
    long = encoded(facts.context, 5)
    values = measure(model, find_sites(model), long, [ENTROPY], layout="single")
    np.testing.assert_allclose(
        values["next_token_entropy"].values, entropies(model, long), rtol=1e-5
    )
    more = Prompt("f/0", "f", None, (*long.ids[0], 5))
    with pytest.raises(PromptError, match=f"has {facts.context + 1} tokens"):
        encode(PromptSet("mine", (more,), {"f": {}}, "0"), None, facts, "no-bos")


BLOCKS = {
    "mamba": "backbone.layers",
    "mamba2": "backbone.layers",
    "falcon_mamba": "backbone.layers",
    "falcon": "transformer.h",
    "inkling2_text": "model.layers",
    "minicpm3": "model.layers",
}


@pytest.mark.slow
@pytest.mark.parametrize("model_type", BLOCKS)
def test_norms_are_those_of_hooks_set_by_hand(model_type: str) -> None:
    model = build_small(small_config(model_type))
    prompts = encoded(9, 3, 14, 1, 22)
    made: list[torch.Tensor] = []
    blocks = list(model.get_submodule(BLOCKS[model_type]))
    hooks = [
        block.register_forward_hook(
            lambda _, __, out: made.append(out if isinstance(out, torch.Tensor) else out[0])
        )
        for block in blocks
    ]
    wanted = []
    for ids in prompts.ids:
        made.clear()
        with torch.no_grad():
            model(torch.tensor([ids]), use_cache=False)
        wanted.append([float(value[0, -1].double().norm()) for value in made])
    for hook in hooks:
        hook.remove()
    sites = find_sites(model)
    layout = check(SimpleNamespace(model=model), sites, prompts, [NORMS]).layout
    measured = measure(model, sites, prompts, [NORMS], layout=layout)["residual_norm"].values
    np.testing.assert_allclose(measured, wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["reformer"])
def test_the_layout_that_is_chosen_gives_what_single_prompts_give(model_type: str) -> None:
    model = build_small(small_config(model_type))
    prompts = encoded(9, 3, 14, 1, 22, 7, 12, 6, 33, 40, 5, 18, 8, 8, 10, 24)
    are_as_of_single_prompts(model, prompts, rtol=1e-3)


@pytest.mark.parametrize("tokens", [4096, 49152, 256000])
def test_entropies_of_large_vocabularies_are_right_to_rounding(tokens: int) -> None:
    source = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, tokens, generator=source) - 5
    # What a tokenizer has no token for is often ruled out.
    logits[1, -100:] = float("-inf")
    chances = logits.double().log_softmax(-1)
    wanted = torch.special.entr(chances.exp()).sum(-1)
    entropy, top, _ = _next_token(logits)
    torch.testing.assert_close(entropy.double(), wanted, rtol=0, atol=4e-6)
    torch.testing.assert_close(top.double(), chances.max(-1).values.exp(), rtol=1e-5, atol=0)


SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"
VARIANTS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 1},
    "gemma2": {"layer_types": [FULL, SLIDING], "sliding_window": 4, "attn_logit_softcapping": 2.0},
    "llama4_text": {"attention_chunk_size": 4, "no_rope_layers": [1, 0], "floor_scale": 4},
    "gemma4_text": {
        "num_hidden_layers": 3,
        "layer_types": [FULL, SLIDING, FULL],
        "global_head_dim": 32,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "sliding_window": 3,
    },
    "qwen3_next": {"num_hidden_layers": 3, "layer_types": [FULL, LINEAR, LINEAR]},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 3},
    "llama": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}},
    "gpt_neo": {"attention_types": [[["local", "global"], 1]], "window_size": 3},
    "opt": {"pad_token_id": 9, "word_embed_proj_dim": 32},
    "xlm-roberta": {"pad_token_id": 9},
}
"""Windows and chunks far shorter than a prompt, hybrids in other orders, heads of two sizes, and
padding by a token that prompts hold."""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", VARIANTS)
def test_other_masks_orders_and_padding_give_what_single_prompts_give(model_type: str) -> None:
    config = small_config(model_type)
    changed = {**config.to_dict(), **VARIANTS[model_type]}
    model = build_small(type(config)(**{n: v for n, v in changed.items() if n != "block_types"}))
    prompts = encoded(8, 3, 17, 1, 26, 12, 5, 33)
    # The second tokens are what these models pad with, start or end with.
    ids = tuple(
        (x[0], (9, 2, 1)[at % 3], *x[2:]) if x[1:] else x for at, x in enumerate(prompts.ids)
    )
    are_as_of_single_prompts(model, replace(prompts, ids=ids), rtol=1e-4)


def test_a_head_applied_as_a_function_is_measured() -> None:
    model = planted("functional-head")
    prompts = encoded(9, 3, 14, 1, 22)
    are_as_of_single_prompts(model, prompts, rtol=1e-5)


@pytest.mark.parametrize("sink", [None, -6.0])
def test_sinks_leave_rows_that_are_made_to_sum_to_one(sink: float | None) -> None:
    model = build_small(small_config("gpt_oss"))
    if sink is not None:
        # Little goes to these: rows sum to nearly 1.
        for block in model.model.layers:
            block.self_attn.sinks.fill_(sink)
    prompts = encoded(9, 14)
    item = REGISTRY["attention_entropy"]
    values = measure(model, find_sites(model), prompts, [item], layout="single")
    measured = values["attention_entropy"].values
    model.set_attn_implementation("eager")
    for place, ids in enumerate(prompts.ids):
        with torch.no_grad():
            out = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
        for layer, pattern in enumerate(out.attentions):
            rows = pattern[0].double().numpy()
            assert rows.sum(-1).max() < 1
            assert sink is None or rows[:, 1:].sum(-1).mean() > 0.99
            for head in range(rows.shape[0]):
                shares = []
                for at in range(1, len(ids)):
                    row = rows[head, at, : at + 1] / rows[head, at, : at + 1].sum()
                    seen = row[row > 0]
                    shares.append(-(seen * np.log(seen)).sum() / np.log(at + 1))
                assert measured[place, layer, head] == pytest.approx(np.mean(shares), rel=1e-5)


RIGHT = {
    "bert": ("LayerNorm", "learned"),
    "electra": ("LayerNorm", "learned"),
    "rembert": ("LayerNorm", "learned"),
    "big_bird": ("LayerNorm", "learned"),
    "reformer": ("LayerNorm", "learned"),
    "xlnet": ("LayerNorm", "relative"),
    "gemma3n_text": ("RMSNorm", "rotary"),
    "gemma4_text": ("RMSNorm", "rotary"),
    "bamba": ("RMSNorm", "rotary"),
    "jamba": ("RMSNorm", "none"),
    "inkling_text": ("RMSNorm", "relative"),
    "mpt": ("LayerNorm", "alibi"),
    "bloom": ("LayerNorm", "alibi"),
    "xglm": ("LayerNorm", "sinusoidal"),
    "olmo": ("LayerNorm", "rotary"),
    "cohere": ("LayerNorm", "rotary"),
    "nemotron": ("LayerNorm", "rotary"),
    "git": ("LayerNorm", "learned"),
}
"""Norm inside the blocks and positions, read from the modeling files."""


@pytest.mark.parametrize("model_type", RIGHT)
def test_norms_and_positions_are_those_of_the_modeling_files(model_type: str) -> None:
    with torch.device("meta"):
        structure = find_structure(AutoModelForCausalLM.from_config(small_config(model_type)))
    assert (structure.norm_kind, structure.positions) == RIGHT[model_type]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["gpt2", "falcon", "mamba2", "jamba", "minicpm3", "cpmant"])
def test_an_untrained_copy_is_drawn_as_the_class_draws_it(model_type: str) -> None:
    config = small_config(model_type)
    fresh = WeightReader({}, config).untrained(0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in fresh.layout.parameters:
        drawn = fresh.tensor(parameter.name)
        wanted = model.get_parameter(parameter.name).detach().float().numpy()
        if wanted.size < 512:
            continue
        slack = max(0.03, 6 / np.sqrt(2 * wanted.size)) * max(wanted.std(), drawn.std()) + 1e-6
        assert abs(drawn.std() - wanted.std()) <= slack, parameter.name
        assert abs(drawn.mean() - wanted.mean()) <= 0.25 * wanted.std() + 1e-3, parameter.name


@pytest.mark.parametrize("model_type", ["openai-gpt", "apertus"])
def test_what_a_constructor_sets_is_refused_in_an_untrained_copy_at_each_try(
    model_type: str,
) -> None:
    reader = WeightReader({}, small_config(model_type))  # type: ignore[arg-type]

    def draw_all() -> None:
        fresh = reader.untrained(0)
        for parameter in fresh.layout.parameters:
            fresh.tensor(parameter.name)

    for _ in range(2):
        with pytest.raises(NotAvailableError, match="in its constructor and not in _init_weights"):
            draw_all()


@pytest.mark.parametrize("from_file", [False, True])
def test_weights_that_blocks_share_are_read_of_each_of_them(
    tmp_path: Path, from_file: bool
) -> None:
    changed = {"num_hidden_layers": 3, "layers_block_type": ["hybrid", "mamba", "hybrid"]}
    config = small_config("zamba2")
    model = build_small(type(config)(**{**config.to_dict(), **changed}))
    if from_file:
        model.save_pretrained(tmp_path)
        reader = WeightReader.from_folder(tmp_path)
    else:
        reader = WeightReader.from_state_dict(model.state_dict(), model.config)
    assert reader.layers == (0, 2)
    wanted = model.model.layers[2].shared_transformer.self_attn.q_proj.weight.T
    for layer in reader.layers:
        np.testing.assert_array_equal(reader.matrix(layer, "q"), wanted)
