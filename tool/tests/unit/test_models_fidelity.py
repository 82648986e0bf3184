"""Checks at load: a checkpoint is refused when it is not what it seems."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support import checkpoints
from transformers import GemmaConfig, GemmaForCausalLM

from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.records import InstrumentCheck

pytestmark = pytest.mark.usefixtures("cache")


def failed(folder: Path | str, **changes: Any) -> dict[str, InstrumentCheck]:
    spec = dataclasses.replace(resolve(str(folder)), **changes)
    return {check.name: check for check in load(spec).checks if not check.passed}


def test_ignored_tensor_fails_a_check(tmp_path: Path) -> None:
    extra = {"transformer.h.0.attn.rotary.weight": torch.ones(4)}
    measured = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **extra))
    assert list(measured) == ["weights-used"]
    assert "h.0.attn.rotary.weight" in measured["weights-used"].detail


def test_mask_buffers_of_old_checkpoints_are_no_weights(tmp_path: Path) -> None:
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()}
    assert failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **mask)) == {}


@pytest.mark.parametrize("left_out", ["transformer.h.1.mlp.c_fc.weight", "transformer.ln_f.bias"])
def test_reinitialised_tensor_fails_a_check(tmp_path: Path, left_out: str) -> None:
    measured = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **{left_out: None}))
    assert list(measured) == ["weights-complete"]
    assert left_out in measured["weights-complete"].detail


def test_tensor_of_another_shape_fails_a_check(tmp_path: Path) -> None:
    wrong = {"transformer.h.2.ln_1.weight": torch.full((31,), 1.1)}
    measured = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **wrong))
    assert "transformer.h.2.ln_1.weight" in measured["weights-complete"].detail


def test_untied_unembedding_left_out_fails_a_check(tmp_path: Path) -> None:
    model = checkpoints.llama(tie_word_embeddings=False)
    measured = failed(checkpoints.save(model, tmp_path, **{"lm_head.weight": None}))
    assert "lm_head.weight" in measured["weights-complete"].detail


def test_norms_of_another_kind_than_registered_fail_a_check(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.llama(), tmp_path)
    measured = failed(folder, norm="LayerNorm")
    assert (
        "the modules are RMSNorm, but the registry states LayerNorm" in measured["norm-kind"].detail
    )
    assert failed(folder, norm="RMSNorm") == {}


def _plain_norms(model: Any, *names: str) -> Any:
    with torch.no_grad():
        for block in model.transformer.h:
            for name in names:
                getattr(block, name).weight.fill_(1.0)
                getattr(block, name).bias.zero_()
    return model


@pytest.mark.parametrize("names", [("ln_1", "ln_2"), ("ln_2",)])
def test_identity_norms_under_ordinary_names_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    measured = failed(checkpoints.save(_plain_norms(checkpoints.gpt2(), *names), tmp_path))
    assert list(measured) == ["norm-gains"]
    assert ", ".join(names) in measured["norm-gains"].detail
    assert "saved identities under their names" in measured["norm-gains"].detail


def test_identity_gain_is_zero_where_the_module_adds_one(tmp_path: Path) -> None:
    config = GemmaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=97,
        pad_token_id=0,
    )
    model = checkpoints.trained(GemmaForCausalLM(config))
    assert failed(checkpoints.save(model, tmp_path / "whole")) == {}
    with torch.no_grad():
        for block in model.model.layers:
            block.input_layernorm.weight.zero_()
    measured = failed(checkpoints.save(model, tmp_path / "plain"))
    assert "input_layernorm" in measured["norm-gains"].detail


def test_fresh_weights_keep_their_unit_gains(tmp_path: Path) -> None:
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    fresh = GPT2LMHeadModel(checkpoints.gpt2().config)
    loaded = load(resolve(checkpoints.save(fresh, tmp_path)))
    check = {c.name: c for c in loaded.checks}["norm-gains"]
    assert check.passed
    assert check.detail == "the weights are a fresh initialisation"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_fail_a_check(tmp_path: Path, value: float) -> None:
    weight = torch.full((32,), 1.1)
    weight[7] = value
    folder = checkpoints.save(
        checkpoints.gpt2(), tmp_path, **{"transformer.h.1.ln_2.weight": weight}
    )
    measured = failed(folder)
    assert list(measured) == ["weights-finite"]
    assert "transformer.h.1.ln_2.weight" in measured["weights-finite"].detail


def test_weights_beyond_half_precision_fail_as_float16_only(tmp_path: Path) -> None:
    large = {"transformer.ln_f.weight": torch.full((32,), 1e6)}
    spec = resolve(checkpoints.save(checkpoints.gpt2(), tmp_path, **large))
    assert all(check.passed for check in load(spec, dtype="bfloat16").checks)
    measured = [check.name for check in load(spec, dtype="float16").checks if not check.passed]
    assert measured == ["weights-finite"]


def test_gains_that_were_folded_into_the_matrices_behind_are_let_through(tmp_path: Path) -> None:
    loaded = load(resolve("tiny-rmsnorm"))
    model = loaded.model
    ids = torch.arange(40)[None]
    with torch.no_grad():
        before = model(ids).logits
        for block in model.model.layers:
            for norm, readers in (
                (block.input_layernorm, [getattr(block.self_attn, f"{n}_proj") for n in "qkv"]),
                (block.post_attention_layernorm, [block.mlp.gate_proj, block.mlp.up_proj]),
            ):
                for reader in readers:
                    reader.weight *= norm.weight
                norm.weight.fill_(1.0)
        assert torch.allclose(model(ids).logits, before, atol=1e-4)
    model.save_pretrained(tmp_path / "folded")
    again = load(resolve(str(tmp_path / "folded")))
    check = {c.name: c for c in again.checks}["norm-gains"]
    assert check.passed
    assert "the matrices behind the norms bear them" in check.detail
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.v_proj.weight.copy_(torch.randn_like(block.self_attn.v_proj.weight))
            block.self_attn.q_proj.weight.copy_(torch.randn_like(block.self_attn.q_proj.weight))
    assert "norm-gains" in failed(checkpoints.save(model, tmp_path / "noise"))
