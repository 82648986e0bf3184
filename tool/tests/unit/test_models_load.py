"""Checkpoints in a folder: loaded exactly, and refused when they are not what they seem."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import checkpoints
from transformers import GemmaConfig, GemmaForCausalLM

from refutable.errors import ModelError
from refutable.models.identify import identify
from refutable.models.load import load, untrained
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.records import InstrumentCheck

IDS = torch.tensor([[3, 14, 15, 92, 65, 35]])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path_factory.mktemp("cache")))


def failed(folder: Path | str, **changes: Any) -> dict[str, InstrumentCheck]:
    spec = dataclasses.replace(resolve(str(folder)), **changes)
    return {check.name: check for check in load(spec).checks if not check.passed}


@pytest.mark.parametrize("make", [checkpoints.gpt2, checkpoints.llama])
def test_loaded_model_gives_the_saved_models_logits(tmp_path: Path, make: Any) -> None:
    model = make()
    loaded = load(resolve(checkpoints.save(model, tmp_path)))
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert [check.name for check in loaded.checks if not check.passed] == []
    assert len(loaded.checks) == 5
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


# -- files ------------------------------------------------------------------------------------


def test_pickled_tensors_are_read(tmp_path: Path) -> None:
    model = checkpoints.gpt2()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    loaded = load(resolve(str(tmp_path)))
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert all(check.passed for check in loaded.checks)


class _Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_code_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    checkpoints.gpt2().config.save_pretrained(tmp_path)
    proof = tmp_path / "code-was-run"
    payload = {"transformer.wte.weight": _Code(proof)}
    if zipped:
        torch.save(payload, tmp_path / "pytorch_model.bin")
    else:
        (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(payload, protocol=2))
    with pytest.raises(ModelError, match=r"pickle that holds code .* save the model as saf"):
        load(resolve(str(tmp_path)))
    assert not proof.exists()


def test_folder_without_config_or_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(resolve(str(tmp_path)))
    checkpoints.gpt2().config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        load(resolve(str(tmp_path)))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="adapter only: merge it"):
        load(resolve(str(tmp_path)))


def test_missing_shard_is_named(tmp_path: Path) -> None:
    checkpoints.gpt2().save_pretrained(tmp_path, max_shard_size="40KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert all(check.passed for check in load(resolve(str(tmp_path))).checks)
    shards[0].unlink()
    message = rf"lacks 1 of {len(shards)} weight files \({shards[0].name}"
    with pytest.raises(ModelError, match=message):
        load(resolve(str(tmp_path)))


def test_truncated_weights_are_one_line(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load(resolve(folder))
    assert "\n" not in str(caught.value)


def _edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **fields}), encoding="utf-8")


def test_config_without_blocks_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    _edit_config(tmp_path, n_layer=0)
    with pytest.raises(ModelError, match=r"states no blocks .*give a decoder of one block or more"):
        identify(resolve(folder))


def test_config_that_needs_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    _edit_config(tmp_path, model_type="my-own", auto_map={"AutoConfig": "own.Config"})
    (tmp_path / "own.py").write_text("raise SystemExit('code was run')", encoding="utf-8")
    with pytest.raises(ModelError, match="code that comes with its weights, which is never run"):
        identify(resolve(folder))


def test_config_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"cannot read .*config\.json"):
        identify(resolve(folder))


# -- fidelity ---------------------------------------------------------------------------------


def test_ignored_tensor_fails_a_check(tmp_path: Path) -> None:
    extra = {"transformer.h.0.attn.rotary.weight": torch.ones(4)}
    found = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **extra))
    assert list(found) == ["weights-used"]
    assert "h.0.attn.rotary.weight" in found["weights-used"].detail


def test_mask_buffers_of_old_checkpoints_are_no_weights(tmp_path: Path) -> None:
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool)}
    assert failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **mask)) == {}


@pytest.mark.parametrize("left_out", ["transformer.h.1.mlp.c_fc.weight", "transformer.ln_f.bias"])
def test_reinitialised_tensor_fails_a_check(tmp_path: Path, left_out: str) -> None:
    found = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **{left_out: None}))
    assert list(found) == ["weights-complete"]
    assert left_out in found["weights-complete"].detail


def test_tensor_of_another_shape_fails_a_check(tmp_path: Path) -> None:
    wrong = {"transformer.h.2.ln_1.weight": torch.full((31,), 1.1)}
    found = failed(checkpoints.save(checkpoints.gpt2(), tmp_path, **wrong))
    assert "transformer.h.2.ln_1.weight" in found["weights-complete"].detail


def test_untied_unembedding_left_out_fails_a_check(tmp_path: Path) -> None:
    model = checkpoints.llama(tie_word_embeddings=False)
    found = failed(checkpoints.save(model, tmp_path, **{"lm_head.weight": None}))
    assert "lm_head.weight" in found["weights-complete"].detail


def test_norms_of_another_kind_than_registered_fail_a_check(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.llama(), tmp_path)
    found = failed(folder, norm="LayerNorm")
    assert "the modules are RMSNorm, but the registry states LayerNorm" in found["norm-kind"].detail
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
    found = failed(checkpoints.save(_plain_norms(checkpoints.gpt2(), *names), tmp_path))
    assert list(found) == ["norm-gains"]
    assert ", ".join(names) in found["norm-gains"].detail
    assert "saved identities under their names" in found["norm-gains"].detail


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
    found = failed(checkpoints.save(model, tmp_path / "plain"))
    assert "input_layernorm" in found["norm-gains"].detail


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
    found = failed(folder)
    assert list(found) == ["weights-finite"]
    assert "transformer.h.1.ln_2.weight" in found["weights-finite"].detail


def test_weights_beyond_half_precision_fail_as_float16_only(tmp_path: Path) -> None:
    large = {"transformer.ln_f.weight": torch.full((32,), 1e6)}
    spec = resolve(checkpoints.save(checkpoints.gpt2(), tmp_path, **large))
    assert all(check.passed for check in load(spec, dtype="bfloat16").checks)
    found = [check.name for check in load(spec, dtype="float16").checks if not check.passed]
    assert found == ["weights-finite"]


@pytest.mark.parametrize(
    ("place", "positions", "norms"), [("both", "learned", 7), ("ffn", "none", 4)]
)
def test_models_of_this_project_load_from_any_folder(
    tmp_path: Path, place: str, positions: str, norms: int
) -> None:
    from refutable.twins.model import TwinConfig, TwinLMHeadModel

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


# -- dtype, device, controls ------------------------------------------------------------------


def test_dtype_and_device_are_checked(tmp_path: Path) -> None:
    spec = resolve(checkpoints.save(checkpoints.gpt2(), tmp_path))
    assert load(spec, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match="expected dtype to be one of float32, bfloat16, float16"):
        load(spec, dtype="float8")
    with pytest.raises(ModelError, match="device 'toaster' cannot be used here"):
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
    _edit_config(tmp_path, tie_word_embeddings=True)
    loaded = load(resolve(folder))
    assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)
    assert loaded.facts.tied is False
    assert loaded.facts.parameters == sum(p.numel() for p in model.parameters())
