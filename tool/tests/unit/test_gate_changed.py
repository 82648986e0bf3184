"""Changes that are no rounding, tensors of experts, and what sticks out of a rounded release."""

from __future__ import annotations

import pytest
import torch
from support.small_decoder import BASE, OUT, UP, Holder, Q, release

from refutable.gate.weights import weight_facts
from refutable.models.facts.tensors import tensor_facts

DOWN = UP.replace("up", "down")
EXPERTS = "model.layers.{}.mlp.experts.{}"


def told(held, base=BASE):
    return weight_facts(release(base), release({**base, **held}))


def noise(value, share, seed=5):
    drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    return value + share * value.std() * drawn


@pytest.mark.parametrize("share", [3e-5, 1e-3, 3e-3, 0.3])
def test_what_is_no_rounding_is_suspect_however_small_it_is(share):
    (fact,) = told({UP.format(2): noise(BASE[UP.format(2)], share)})
    assert fact.suspect
    assert f"{UP.format(2)} " in fact.text
    assert "relative change" in fact.text


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_rounding_of_one_tensor_to_16_bits_is_told_and_passes(kind):
    (fact,) = told({UP.format(2): BASE[UP.format(2)].to(kind).float()})
    assert not fact.suspect


def test_noise_within_16_bits_is_no_rounding():
    base = {n: v.to(torch.bfloat16).float() for n, v in BASE.items()}
    held = {Q.format(1): noise(base[Q.format(1)], 3e-3).to(torch.bfloat16).float()}
    (fact,) = told(held, base)
    assert fact.suspect


def test_sums_that_were_made_in_another_order_pass():
    (fact,) = told({UP.format(2): BASE[UP.format(2)] * (1 + 6e-8)})
    assert not fact.suspect


def test_what_sticks_out_of_a_rounded_release_is_told_by_itself():
    held = {n: v.to(torch.bfloat16).float() for n, v in BASE.items()}
    held[OUT.format(1)] = noise(BASE[OUT.format(1)], 0.05).to(torch.bfloat16).float()
    alone, rest = told(held)
    assert alone.suspect
    assert alone.text.startswith(f"{OUT.format(1)} differs: relative change 0.0")
    assert alone.whole == pytest.approx(0.05, rel=0.2)
    assert not rest.suspect
    assert rest.text.startswith("29 of 30 tensors differ")


def test_a_release_that_was_trained_on_is_told_and_passes():
    (fact,) = told({n: noise(v, 0.01) for n, v in BASE.items()})
    assert not fact.suspect


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_pruning_is_counted_and_rounding_is_none(share):
    value = BASE[DOWN.format(3)]
    least = value.abs().flatten().kthvalue(int(share * value.numel())).values
    (fact,) = told({DOWN.format(3): torch.where(value.abs() <= least, 0.0, value)})
    assert fact.suspect
    count = int(share * value.numel())
    assert f"{DOWN.format(3)} pruned: {count} of 1536 weights set to 0 (block 3)" in fact.text
    step = value.abs().amax(1, keepdim=True) / 7
    (fact,) = told({DOWN.format(3): (value / step).round() * step})
    assert "rounded to 4 bits" in fact.text


def test_everything_pruned_is_told_and_passes():
    held = {n: torch.where(v.abs() < 0.1 * v.std(), 0.0, v) for n, v in BASE.items() if v.ndim > 1}
    (fact,) = told(held)
    assert not fact.suspect
    assert "pruned: relative change" in fact.text


def experts(seed=1):
    source = torch.Generator().manual_seed(seed)
    held = dict(BASE)
    for block in range(2):
        held[EXPERTS.format(block, "gate_up_proj")] = torch.randn(4, 48, 32, generator=source)
        held[EXPERTS.format(block, "down_proj")] = torch.randn(4, 32, 24, generator=source)
    return held


def test_experts_are_named_and_their_neurons_known():
    base = experts()
    name, out = (EXPERTS.format(1, part) for part in ("gate_up_proj", "down_proj"))
    other = base[out].clone()
    other[2] *= 1.1
    (fact,) = told({out: other}, base)
    assert fact.text == f"expert 2 of {out} rescaled by 1.1 (block 1)"
    into, other = base[name].clone(), base[out].clone()
    into[3], other[3] = into[3].view(2, 24, 32).flip(1).reshape(48, 32), other[3].flip(1)
    pair = told({name: into, out: other}, base)
    assert [f.permutes for f in pair] == [True, True]
    assert [f.text.split(" perm")[0] for f in pair] == [f"expert 3 of {out}", f"expert 3 of {name}"]


def test_queries_keys_and_values_in_one_matrix_are_no_heads():
    name = "model.layers.1.self_attn.c_attn.weight"
    base = {**BASE, name: torch.randn(32, 96, generator=torch.Generator().manual_seed(3))}
    other = base[name].clone()
    other[:, 40:48] *= 2
    (fact,) = told({name: other}, base)
    assert fact.text == f"8 of 96 columns (40 to 47) of {name} rescaled by 2 (block 1)"


class Routed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(4, 3, bias=False)
        self.register_buffer("correction", torch.tensor([0.0, 1.0, 2.0]))
        self.register_buffer("mask", torch.ones(3), persistent=False)


def test_buffers_that_a_checkpoint_holds_are_described():
    facts, arrays = tensor_facts(Routed())
    assert [one["name"] for one in facts] == ["correction", "gate.weight"]
    assert arrays["correction|values"].tolist() == [0, 1, 2]
    assert (facts[0]["zeros"], facts[0]["exact"]) == (1, ["bfloat16", "float16"])
    assert facts[1]["exact"] == []


def test_columns_of_several_matrices_are_those_of_each():
    value = torch.arange(24.0).reshape(2, 3, 4)
    _, arrays = tensor_facts(Holder({"x": value}))
    assert arrays["x|row_norm"].shape == (6,)
    assert arrays["x|col_norm"].tolist() == pytest.approx(value.norm(dim=1).reshape(-1).tolist())


def test_a_run_of_an_earlier_version_is_read():
    base, name = experts(), EXPERTS.format(1, "down_proj")
    old, new = release(base), release({**base, name: base[name] * 1.5})
    for entry in old.facts["tensors"]:
        del entry["zeros"], entry["exact"]
    for key in [key for key in old.weights if "experts" in key and "|col" in key]:
        old.weights[key] = old.weights[key][:24]
    (fact,) = weight_facts(old, new)
    assert fact.text == f"{name} rescaled by 1.5 (block 1)"
