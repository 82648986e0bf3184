"""Twins: norm placement, shared initialisation, round trip, and the function they compute."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from refutable.errors import RefutableError
from refutable.models.twin_model import TwinConfig, TwinLMHeadModel
from refutable.training.recipe import VARIANTS, TwinRecipe, config_of, runs, seeds_of, variant_named
from refutable.training.train import build_twin

TINY = TwinRecipe(blocks=2, width=16, heads=2, vocabulary=40, context=12)
IDS = torch.tensor([[0, 7, 31, 7, 2, 19, 4], [5, 5, 38, 1, 0, 3, 11]])


def tiny(name: str, seed: int = 3) -> TwinLMHeadModel:
    return build_twin(variant_named(name), TINY, seed).eval()


@pytest.mark.parametrize(
    ("name", "layernorms", "rmsnorms", "identities"),
    [
        ("layernorm-both", 5, 0, 0),
        ("layernorm-attention", 3, 0, 2),
        ("layernorm-ffn", 3, 0, 2),
        ("rmsnorm-both", 0, 5, 0),
        ("rmsnorm-attention", 0, 3, 2),
        ("rmsnorm-ffn", 0, 3, 2),
        ("none", 1, 0, 4),
        ("layernorm-both-no-positions", 5, 0, 0),
    ],
)
def test_norms_of_each_variant(name, layernorms, rmsnorms, identities):
    model = tiny(name)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.LayerNorm) == layernorms
    assert kinds.count(nn.RMSNorm) == rmsnorms
    removed = [m for n, m in model.named_modules() if ".ln_" in n and isinstance(m, nn.Identity)]
    assert len(removed) == identities
    assert sum(p.numel() for m in removed for p in m.parameters()) == 0


def test_attention_only_norms_stand_before_attention():
    attention, ffn = tiny("rmsnorm-attention"), tiny("rmsnorm-ffn")
    for block in attention.transformer.h:
        assert isinstance(block.ln_1, nn.RMSNorm)
        assert isinstance(block.ln_2, nn.Identity)
    for block in ffn.transformer.h:
        assert isinstance(block.ln_1, nn.Identity)
        assert isinstance(block.ln_2, nn.RMSNorm)


def test_shared_tensors_start_bit_identical_in_all_variants():
    reference = dict(tiny("layernorm-both").named_parameters())
    for variant in VARIANTS:
        for name, tensor in tiny(variant.name).named_parameters():
            if variant.positions == "none" and "wpe" in name:
                continue
            assert torch.equal(tensor, reference[name]), (variant.name, name)


def test_seeds_differ_and_the_scale_is_the_recipes():
    first = dict(tiny("none", seed=3).named_parameters())
    other = dict(tiny("none", seed=4).named_parameters())
    assert not torch.equal(first["transformer.wte.weight"], other["transformer.wte.weight"])
    large = build_twin(variant_named("none"), TwinRecipe(), 0)
    fc = large.transformer.h[0].mlp.c_fc.weight
    out = large.transformer.h[0].mlp.c_proj.weight
    assert fc.std().item() == pytest.approx(0.08, rel=0.02)
    assert out.std().item() == pytest.approx(0.08 / math.sqrt(12), rel=0.02)


def test_size_is_between_0_4_and_0_6_million():
    for variant in VARIANTS:
        count = sum(p.numel() for p in build_twin(variant, TwinRecipe(), 0).parameters())
        assert 400_000 < count < 600_000
    # 1024*72 + 128*72 + 6 * (4*72*72 + 4*72 + 8*72*72 + 5*72) + 13 norms of 2*72
    count = sum(p.numel() for p in build_twin(VARIANTS[0], TwinRecipe(), 0).parameters())
    assert count == 1024 * 72 + 128 * 72 + 6 * (12 * 72 * 72 + 9 * 72) + 13 * 144


@pytest.mark.parametrize("name", [v.name for v in VARIANTS])
def test_round_trip_through_a_folder_is_exact(name, tmp_path):
    model = tiny(name)
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), TwinConfig)
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(again) is TwinLMHeadModel
    kept, read = model.state_dict(), again.state_dict()
    assert list(kept) == list(read)
    assert all(torch.equal(kept[k], read[k]) for k in kept)
    assert torch.equal(model(IDS).logits, again.eval()(IDS).logits)


def test_positions_none_is_exactly_zero_and_makes_order_invisible_to_one_key():
    model = tiny("layernorm-both-no-positions")
    assert model.transformer.wpe.weight.abs().max().item() == 0.0
    shifted = model(IDS, position_ids=torch.arange(3, 10)[None].expand(2, -1)).logits
    assert torch.equal(shifted, model(IDS).logits)
    learned = tiny("layernorm-both")
    moved = learned(IDS, position_ids=torch.arange(3, 10)[None].expand(2, -1)).logits
    assert not torch.allclose(moved, learned(IDS).logits)


def handwritten(model: TwinLMHeadModel, ids: torch.Tensor) -> torch.Tensor:
    """The norm-free twin written out: attention and feed-forward read the raw stream."""
    body = model.transformer
    heads = model.config.n_head
    x = body.wte.weight[ids] + body.wpe.weight[: ids.shape[1]]
    for block in body.h:
        q, k, v = (x @ block.attn.c_attn.weight + block.attn.c_attn.bias).split(x.shape[-1], -1)
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        mixed = (scores.masked_fill(future, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(-2)
        x = x + mixed @ block.attn.c_proj.weight + block.attn.c_proj.bias
        hidden = x @ block.mlp.c_fc.weight + block.mlp.c_fc.bias
        hidden = 0.5 * hidden * (1 + torch.tanh(0.7978845608 * (hidden + 0.044715 * hidden**3)))
        x = x + hidden @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return (x * body.ln_f.weight + body.ln_f.bias) @ body.wte.weight.T


def test_none_computes_the_handwritten_function():
    model = tiny("none")
    torch.testing.assert_close(model(IDS).logits, handwritten(model, IDS), rtol=1e-5, atol=1e-5)


def test_rmsnorm_twin_differs_from_layernorm_twin_by_the_mean_alone():
    model = tiny("rmsnorm-both")
    seen = []
    handle = model.transformer.ln_f.register_forward_hook(lambda m, i, o: seen.append((i[0], o)))
    model(IDS)
    handle.remove()
    x, out = seen[0]
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(out, expected)
    assert not torch.allclose(out, functional.layer_norm(x, (16,)), atol=1e-3)


def test_attention_goes_through_the_interface():
    model = tiny("none")
    plain = model(IDS).logits
    model.set_attn_implementation("eager")
    shown = model(IDS, output_attentions=True)
    torch.testing.assert_close(shown.logits, plain, rtol=1e-5, atol=1e-5)
    assert len(shown.attentions) == 2
    for pattern in shown.attentions:
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 2, 7))


def test_packed_rows_equal_single_rows():
    model = tiny("layernorm-attention")
    packed = torch.cat([IDS[0, :4], IDS[1, :5]])[None]
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    logits = model(packed, position_ids=positions, use_cache=False).logits[0]
    torch.testing.assert_close(logits[:4], model(IDS[:1, :4]).logits[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[4:], model(IDS[1:, :5]).logits[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("field", ["norm_kind", "norm_place", "positions"])
def test_an_unknown_field_value_is_refused_by_name(field):
    with pytest.raises(RefutableError, match=f"expected {field} in .*got 'batchnorm'"):
        TwinConfig(**{field: "batchnorm"})


def test_the_study_has_49_runs_seed_by_seed():
    every = list(runs())
    assert len(every) == len(set(every)) == 49
    assert [name for name, seed in every[:8]] == [v.name for v in VARIANTS]
    assert every[-3:] == [("layernorm-both", 7), ("rmsnorm-both", 7), ("none", 7)]
    assert seeds_of("none") == tuple(range(8))
    assert seeds_of("rmsnorm-ffn") == tuple(range(5))
    config = config_of(variant_named("none"), TwinRecipe())
    assert (config.norm_kind, config.norm_place, config.initializer_range) == (
        "layernorm",
        "none",
        0.08,
    )


def test_an_unknown_twin_is_refused_with_a_near_name():
    with pytest.raises(RefutableError, match="did you mean rmsnorm-both"):
        variant_named("rmsnorm-bot")
