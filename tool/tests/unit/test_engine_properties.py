"""Properties of the engine for any prompts: how they lie in passes changes no observable."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from refutable.capture.measure import measure
from refutable.capture.packing import make_packs
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.models.twin_model import TwinConfig, TwinLMHeadModel
from refutable.observables.registry import REGISTRY

VOCAB = 48
KINDS = ("gpt2", "llama", "twin")
Prompts = list[tuple[int, ...]]
some_prompts = st.lists(
    st.lists(st.integers(1, VOCAB - 1), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6
)
kinds = st.sampled_from(KINDS)
TIMES = settings(max_examples=15, deadline=None)


@cache
def subject(kind: str) -> tuple[Any, Any]:
    torch.manual_seed(1)
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=16, n_layer=2, n_head=2)
        )
    elif kind == "llama":
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=VOCAB, max_position_embeddings=64, **shape, **heads)
        )
    else:
        model = TwinLMHeadModel(
            TwinConfig(vocab_size=VOCAB, n_positions=64, n_embd=16, n_inner=24, n_layer=2,
                       n_head=2, norm_kind="rmsnorm", norm_place="both")
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = model.eval().requires_grad_(False)
    return model, find_sites(model)


@cache
def recorded(kind: str) -> list[Any]:
    """Every observable that one recorded pass of this model gives."""
    model, sites = subject(kind)
    actual = []
    for item in REGISTRY:
        if item.recorder is None:
            continue
        try:
            measure(model, sites, encoded([(1, 2, 3)]), [item], layout="single")
        # A model without experts has no router to record.
        except Exception:  # noqa: S112
            continue
        actual.append(item)
    assert len(actual) > 15
    return actual


def encoded(prompts: Prompts) -> Encoded:
    names = tuple(map(str, range(len(prompts))))
    return Encoded(tuple(prompts), names, names, "no-bos", None)


def measured(kind: str, prompts: Prompts, **how: Any) -> dict[str, xr.DataArray]:
    model, sites = subject(kind)
    return measure(model, sites, encoded(prompts), recorded(kind), **how)


def ragged(item: Any) -> bool:
    return bool(item.dims[:1] == ("token",))


def assert_equal(kind: str, part: Any, whole: Any, indices: list[int], of: Prompts) -> None:
    """`part` at `indices` holds what `whole` holds of the same prompts, in order."""
    for item in recorded(kind):
        a, b = part[item.name].values, whole[item.name].values
        if ragged(item):
            ends = np.cumsum([0, *(len(ids) for ids in of)])
            a = np.concatenate([a[ends[i] : ends[i + 1]] for i in indices])
        elif item.per_prompt:
            a = a[indices]
        if item.name.endswith("_token") or a.dtype.kind in "iu":
            # A tie of two tokens may go either way by rounding.
            assert (a == b).mean() > 0.8, item.name
            continue
        width = [min(x, y) for x, y in zip(a.shape, b.shape, strict=True)]
        a, b = (x[tuple(slice(n) for n in width)] for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=item.name)


@TIMES
@given(kinds, some_prompts, st.randoms(use_true_random=False), st.sampled_from([8, 16, 512]))
def test_the_order_of_prompts_in_passes_changes_nothing(
    kind: str, prompts: Prompts, random: Any, budget: int
) -> None:
    order = list(range(len(prompts)))
    random.shuffle(order)
    straight = measured(kind, prompts)
    shuffled = measured(kind, [prompts[i] for i in order], token_budget=budget)
    back = [order.index(i) for i in range(len(prompts))]
    assert_equal(kind, shuffled, straight, back, [prompts[i] for i in order])


@TIMES
@given(kinds, some_prompts, some_prompts)
def test_the_other_prompts_of_a_batch_change_nothing(
    kind: str, prompts: Prompts, others: Prompts
) -> None:
    alone = measured(kind, prompts, layout="single")
    beside = measured(kind, [*others, *prompts])
    indices = list(range(len(others), len(others) + len(prompts)))
    assert_equal(kind, beside, alone, indices, [*others, *prompts])


@TIMES
@given(kinds, some_prompts, st.integers(2, 4))
def test_a_prompt_that_comes_twice_is_measured_twice_the_same(
    kind: str, prompts: Prompts, times: int
) -> None:
    once = measured(kind, prompts)
    often = measured(kind, prompts * times)
    for k in range(times):
        indices = [k * len(prompts) + i for i in range(len(prompts))]
        assert_equal(kind, often, once, indices, prompts * times)


@TIMES
@given(kinds, some_prompts)
def test_padding_changes_nothing(kind: str, prompts: Prompts) -> None:
    indices = list(range(len(prompts)))
    alone = measured(kind, prompts, layout="single")
    assert_equal(kind, measured(kind, prompts, layout="padded"), alone, indices, prompts)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=25),
    st.sampled_from(["packed", "padded", "single"]),
    st.integers(1, 64),
    st.none() | st.integers(1, 5),
)
def test_every_prompt_lies_in_exactly_one_pass_and_none_over_another(
    lengths: list[int], layout: str, budget: int, most: int | None
) -> None:
    packs = make_packs(lengths, layout, token_budget=budget, most_prompts=most)
    assert sorted(i for pack in packs for i in pack.prompts) == list(range(len(lengths)))
    for pack in packs:
        cells = [(s.row, s.start + k) for s in pack.segments for k in range(s.length)]
        assert len(cells) == len(set(cells)) == sum(lengths[i] for i in pack.prompts)
        assert all(row < pack.rows and at < pack.width for row, at in cells)
        assert most is None or len(pack.segments) <= most
        assert pack.rows * pack.width <= budget or len(pack.segments) == 1


vectors = st.lists(st.integers(-50, 50), min_size=16, max_size=16).filter(
    lambda x: np.ptp(x) > 5 and np.std(x) > 2
)


@given(vectors, st.floats(0.5, 1e3), st.sampled_from(["transformers", "twin"]))
def test_rmsnorm_is_unchanged_by_positive_scaling(x: list[int], scale: float, whose: str) -> None:
    torch.manual_seed(0)
    norm: Any = LlamaRMSNorm(16, eps=1e-6)
    if whose == "twin":
        norm = subject("twin")[0].transformer.h[0].ln_1
    else:
        torch.nn.init.normal_(norm.weight)
    values = torch.tensor(x, dtype=torch.float32)
    close(norm(values * scale), norm(values))
    # It sees where the origin lies.
    assert not torch.allclose(norm(values + 100.0), norm(values), atol=1e-2)


@given(vectors, st.floats(0.5, 1e3), st.floats(-100, 100))
def test_layernorm_is_unchanged_by_positive_scaling_and_by_shifts(
    x: list[int], scale: float, shift: float
) -> None:
    norm = subject("gpt2")[0].transformer.h[0].ln_1
    values = torch.tensor(x, dtype=torch.float32)
    close(norm(values * scale + shift), norm(values))


def close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(
        actual.detach().numpy(), wanted.detach().numpy(), rtol=1e-3, atol=1e-3
    )
