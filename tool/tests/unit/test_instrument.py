"""Planted models: what is wrong on purpose must be refused, what is right must pass."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from refutable.capture.intervene import Intervention, intervene
from refutable.capture.measure import measure
from refutable.capture.packing import choose
from refutable.errors import InstrumentError, NotAvailableError
from refutable.measurement.instrument import check
from refutable.measurement.instrument_result import InstrumentResult
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.records import InstrumentCheck

LENGTHS = (9, 3, 14, 1, 22, 7, 12, 6)
NORM = [REGISTRY["residual_norm"]]
ALL = [
    REGISTRY[name]
    for name in (
        "residual_norm",
        "next_token_entropy",
        "top_token",
        "attention_entropy",
        "attention_first",
        "attention_previous",
    )
]


def encoded(lengths: tuple[int, ...] = LENGTHS) -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in lengths)
    names = tuple(f"f{i // 2}/{i % 2}" for i in range(len(lengths)))
    return Encoded(ids, names, tuple(name.split("/")[0] for name in names), "no-bos", None)


def run(model: Any, items: Any = ALL, prompts: Encoded | None = None) -> InstrumentResult:
    return check(SimpleNamespace(model=model), find_sites(model), prompts or encoded(), items)


def named(result: InstrumentResult, name: str) -> InstrumentCheck:
    return next(item for item in result.checks if item.name == name)


def failed(result: InstrumentResult) -> list[str]:
    return [item.name for item in result.checks if not item.passed]


def test_a_sound_model_passes_every_check_and_is_left_as_it_was() -> None:
    model = build("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = run(model)
    assert failed(result) == []
    assert [item.name for item in result.checks] == [
        "no memory of other prompts",
        "blocks",
        "finite",
        "hooks change nothing",
        "causal",
        "layout",
        "attention is read once per block",
        "attention agrees with the model's own",
        "attention rows",
        "no hook remains",
    ]
    assert result.layout == "packed"
    assert result.error < 1e-5
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, array in result.reference.items():
        other = result.packed[name]
        assert list(array["prompt"].values) == list(other["prompt"].values)
        np.testing.assert_allclose(array.values, other.values, rtol=1e-4, atol=1e-6)


class LeakyWhenPacked(LlamaDecoderLayer):
    """A block that mixes all tokens of a row whenever positions restart inside it."""

    leak = 0.05

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        out = super().forward(hidden_states, **kwargs)
        positions = kwargs.get("position_ids")
        restarts = positions is not None and bool((positions[:, 1:] == 0).any())
        return out + self.leak * out.mean(1, keepdim=True) if restarts else out


def leaky(leak: float = 0.05) -> Any:
    model = build("llama")
    model.model.layers[1].__class__ = LeakyWhenPacked
    model.model.layers[1].leak = leak
    return model


@pytest.mark.parametrize("items", [NORM, ALL], ids=["norms", "everything"])
def test_a_model_whose_packed_run_is_wrong_is_never_measured_packed(items: Any) -> None:
    model = leaky()
    result = run(model, items)
    assert result.layout == "padded"
    assert "packed refused" in named(result, "layout").detail
    assert failed(result) == []


def test_a_packed_run_may_be_off_by_a_thousandth_and_no_more() -> None:
    """In float32; five thousandths would let a wrong mask through in a model of many tokens."""
    refused = named(run(leaky(1e-2)), "layout").detail
    off = float(re.findall(r"off by ([\d.e+-]+)\)", refused)[0])
    measured = {wanted: run(leaky(1e-2 * wanted / off)).layout for wanted in (8e-4, 1.3e-3, 4e-3)}
    assert measured == {8e-4: "packed", 1.3e-3: "padded", 4e-3: "padded"}


def test_a_model_that_cannot_be_padded_either_is_measured_prompt_by_prompt() -> None:
    model = build("bloom")
    forward = model.forward

    def ignores_padding(attention_mask: Any = None, **kwargs: Any) -> Any:
        # Left-aligned alibi distances that start at the end of the row, as a careless port has it.
        if attention_mask is not None:
            kwargs["input_ids"] = kwargs["input_ids"].roll(1, dims=1)
        return forward(**kwargs)

    model.forward = ignores_padding
    result = run(model, NORM)
    assert result.layout == "single"
    assert named(result, "layout").detail.count("refused") == 2
    assert result.error < 1e-6
    assert failed(result) == []


def test_the_measurement_in_the_chosen_layout_equals_single_prompts() -> None:
    model = leaky()
    sites = find_sites(model)
    layout = check(SimpleNamespace(model=model), sites, encoded(), NORM).layout
    chosen = measure(model, sites, encoded(), NORM, layout=layout)["residual_norm"]
    single = measure(model, sites, encoded(), NORM, layout="single")["residual_norm"]
    np.testing.assert_allclose(chosen.values, single.values, rtol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_name_the_block(value: float) -> None:
    model = build("gpt2")
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.bias[0] = value
    result = run(model)
    assert failed(result) == ["finite"]
    assert "block 1" in named(result, "finite").detail


def test_logits_that_are_not_finite_are_told_from_blocks() -> None:
    model = build("gpt2")
    with torch.no_grad():
        model.transformer.ln_f.weight[0] = float("nan")
    assert "logits" in named(run(model), "finite").detail


def test_a_config_that_states_other_blocks_than_run_fails() -> None:
    model = build("llama")
    sites = find_sites(model)
    model.config.num_hidden_layers = 2
    with pytest.raises(InstrumentError, match="captured 2 of 3 blocks"):
        check(SimpleNamespace(model=model), sites, encoded(), NORM)


def test_patterns_that_are_not_the_models_own_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eager function that differs from what the pass reads must not go unnoticed."""
    from refutable.capture import attention

    real = attention.eager_attention

    def sharpened(module: Any) -> Any:
        def eager(*args: Any, **kwargs: Any) -> Any:
            return real(module)(*args, **{**kwargs, "scaling": kwargs["scaling"] * 1.5})

        return eager

    monkeypatch.setattr(attention, "eager_attention", sharpened)
    result = run(build("llama"))
    assert "attention agrees with the model's own" in failed(result)


def test_soft_caps_and_sinks_are_the_models_own() -> None:
    shared = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 5,
        "query_pre_attn_scalar": 1,
        "max_position_embeddings": 64,
    }
    capped = build("gemma2", config=shared | {"attn_logit_softcapping": 0.05})
    result = run(capped)
    assert failed(result) == []
    # A tight cap flattens attention: entropy near its maximum, unlike without the cap.
    free = build("gemma2", config=shared | {"attn_logit_softcapping": None})
    entropy = [float(r.reference["attention_entropy"][-1].mean()) for r in (result, run(free))]
    assert entropy[0] > entropy[1] + 0.02

    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "pad_token_id": 0}
    sinks = build("gpt_oss", config=shared | experts)
    with torch.no_grad():
        for block in sinks.model.layers:
            block.self_attn.sinks.fill_(1.0)
    result = run(sinks)
    assert failed(result) == []
    assert "the model's own" in named(result, "attention rows").detail


def test_a_hook_that_is_left_behind_is_found() -> None:
    model = build("gpt2")
    left: list[Any] = []

    def leaves_a_hook(module: Any, args: Any) -> None:
        left.append(model.lm_head.register_forward_hook(lambda *_: None))

    model.transformer.h[0].register_forward_pre_hook(leaves_a_hook)
    sites = find_sites(model)
    left.clear()
    result = check(SimpleNamespace(model=model), sites, encoded(), NORM)
    assert failed(result) == ["no hook remains"]
    assert f"{len(left)} hooks remain" in named(result, "no hook remains").detail


def test_hooks_are_gone_after_an_error_in_the_middle_of_a_pass() -> None:
    model = build("llama")
    sites = find_sites(model)
    before = model.config._attn_implementation

    def explode(*_: Any) -> None:
        raise RuntimeError("in block 2")

    handle = model.model.layers[2].register_forward_pre_hook(explode)
    with pytest.raises(InstrumentError, match="in block 2"):
        measure(model, sites, encoded(), ALL)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.config._attn_implementation == before


def test_half_precision_has_a_wider_stated_bound() -> None:
    result = run(build("llama").to(torch.bfloat16))
    assert failed(result) == []
    assert named(result, "layout").bound == 0.05
    assert 1e-4 < result.error < 0.05


def test_the_chosen_prompts_are_the_shortest_two_the_longest_and_some_between() -> None:
    assert [LENGTHS[i] for i in choose(LENGTHS)] == [1, 3, 6, 9, 12, 22]
    assert len(choose(range(1, 200))) == 6
    assert choose([5]) == (0,)
    assert choose([5, 2]) == (1, 0)


def test_an_empty_selection_is_an_error() -> None:
    model = build("gpt2")
    empty = Encoded((), (), (), "no-bos", None)
    with pytest.raises(InstrumentError, match="no prompts"):
        measure(model, find_sites(model), empty, NORM)


def test_a_site_that_the_model_does_not_have_says_why() -> None:
    edit = Intervention("blocks.1.attn.pattern")
    with pytest.raises(NotAvailableError, match=r"blocks\.1\.attn\.pattern"):
        intervene(build("bloom"), torch.tensor([[3, 4]]), edit)
