"""Checkpoints in a folder: loaded exactly, identified by their content, untrained from scratch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import checkpoints

from refutable.errors import ModelError
from refutable.models.identify import identify
from refutable.models.load import load, untrained
from refutable.models.registry import resolve
from refutable.models.sites import find_sites

pytestmark = pytest.mark.usefixtures("cache")
IDS = torch.tensor([[3, 14, 15, 92, 65, 35]])


@pytest.mark.parametrize("make", [checkpoints.gpt2, checkpoints.llama])
def test_loaded_model_gives_the_saved_models_logits(tmp_path: Path, make: Any) -> None:
    model = make()
    loaded = load(resolve(checkpoints.save(model, tmp_path)))
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert [check.name for check in loaded.checks if not check.passed] == []
    assert len(loaded.checks) == 10
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.model(IDS).past_key_values is None


def test_facts_are_those_of_the_modules(tmp_path: Path) -> None:
    model = checkpoints.gpt2()
    facts = identify(resolve(checkpoints.save(model, tmp_path / "mine"))).facts
    # 97*32 tokens, 64*32 positions, per block 4d of two norms and 12 d^2 + 9 d of matrices, 2d.
    expected = 97 * 32 + 64 * 32 + 3 * (4 * 32 + 12 * 32 * 32 + 9 * 32) + 2 * 32
    assert (facts.id, facts.parameters, facts.tied) == ("mine", expected, True)
    assert (facts.blocks, facts.heads, facts.d_model, facts.d_vocab) == (3, 4, 32, 97)
    assert (facts.norm_kind, facts.positions, facts.context) == ("LayerNorm", "learned", 64)
    assert (facts.bos, facts.tokenizer) == (0, False)


def test_second_identification_imports_no_torch(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.llama(), tmp_path)
    facts = identify(resolve(folder)).facts
    code = (
        "import sys; from refutable.models.identify import identify;"
        "from refutable.models.registry import resolve;"
        "print(identify(resolve(sys.argv[1])).facts.parameters, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(facts.parameters), "False"]


def test_digest_follows_weights_and_config_and_nothing_else(tmp_path: Path) -> None:
    model = checkpoints.gpt2()
    first = identify(resolve(checkpoints.save(model, tmp_path / "a"))).weights_digest
    same = identify(resolve(checkpoints.save(model, tmp_path / "b"))).weights_digest
    model.config.layer_norm_epsilon = 1e-3
    config = identify(resolve(checkpoints.save(model, tmp_path / "c"))).weights_digest
    checkpoints.trained(model, seed=1)
    weights = identify(resolve(checkpoints.save(model, tmp_path / "d"))).weights_digest
    assert first == same
    assert len({first, config, weights}) == 3


def test_changed_file_is_seen_although_digests_are_remembered(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    before = identify(resolve(folder)).weights_digest
    gain = torch.full((32,), 0.5)
    checkpoints.save(checkpoints.gpt2(), tmp_path, **{"transformer.ln_f.weight": gain})
    assert identify(resolve(folder)).weights_digest != before


@pytest.mark.parametrize(
    ("place", "positions", "norms"), [("both", "learned", 7), ("ffn", "none", 4)]
)
def test_models_of_this_project_load_from_any_folder(
    tmp_path: Path, place: str, positions: str, norms: int
) -> None:
    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel

    config = TwinConfig(
        norm_kind="rmsnorm",
        norm_place=place,
        positions=positions,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        vocab_size=97,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = checkpoints.trained(TwinLMHeadModel(config))
    if positions == "none":
        with torch.no_grad():
            model.transformer.wpe.weight.zero_()
    spec = resolve(checkpoints.save(model, tmp_path))
    loaded = load(spec)
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert all(check.passed for check in loaded.checks)
    assert (loaded.facts.norm_kind, loaded.facts.positions) == ("RMSNorm", positions)
    sites = find_sites(loaded.model)
    assert len(sites.norms) == norms
    assert ("blocks.0.ln1" in sites) is (place == "both")
    assert sites["blocks.0.ln2"].path == "transformer.h.0.ln_2"
    assert "blocks.0.resid_mid" in sites


def test_dtype_and_device_are_checked(tmp_path: Path) -> None:
    spec = resolve(checkpoints.save(checkpoints.gpt2(), tmp_path))
    assert load(spec, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match="expected dtype to be one of float32, bfloat16, float16"):
        load(spec, dtype="float8")
    with pytest.raises(ModelError, match="device 'toaster' cannot be used here: choose cpu"):
        load(spec, device="toaster")


def test_untrained_model_is_the_class_own_initialisation(tmp_path: Path) -> None:
    loaded = load(resolve(checkpoints.save(checkpoints.gpt2(), tmp_path)))
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, again, other = untrained(loaded, 1), untrained(loaded, 1), untrained(loaded, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    block = one.model.transformer.h[0]
    assert torch.equal(block.ln_1.weight, torch.ones(32))
    assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / 6**0.5, rel=0.05)
    assert one.model.lm_head.weight is one.model.transformer.wte.weight
    same = [
        torch.equal(a, b)
        for a, b in zip(one.model.parameters(), again.model.parameters(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(one.model.transformer.wte.weight, other.model.transformer.wte.weight)
    assert len({loaded.weights_digest, one.weights_digest, other.weights_digest}) == 3
    assert one.weights_digest == again.weights_digest
    assert one.spec.id.endswith("@untrained-1")


def test_unembedding_that_differs_stays_although_the_config_ties_it(tmp_path: Path) -> None:
    model = checkpoints.llama(tie_word_embeddings=False)
    folder = checkpoints.save(model, tmp_path)
    checkpoints.edit_config(tmp_path, tie_word_embeddings=True)
    loaded = load(resolve(folder))
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert loaded.facts.tied is False
    assert loaded.facts.parameters == sum(p.numel() for p in model.parameters())
