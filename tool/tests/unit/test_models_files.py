"""Files of a checkpoint that are missing, damaged or dangerous are refused in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from support import checkpoints

from refutable.errors import ModelError
from refutable.models.identify import identify
from refutable.models.load import load
from refutable.models.registry import resolve

pytestmark = pytest.mark.usefixtures("cache")
IDS = torch.tensor([[3, 14, 15, 92, 65, 35]])


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


POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:"
    "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model.safetensors"], r"model\.safetensors: a git-lfs pointer"),
        (["tokenizer.json"], r"tokenizer\.json: a git-lfs pointer"),
        (["config.json", "model.safetensors"], r"config\.json and 1 more: a git-lfs pointer"),
    ],
)
def test_files_that_git_lfs_did_not_fetch_are_named(
    tmp_path: Path, names: list[str], said: str
) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    for name in names:
        (tmp_path / name).write_text(POINTER, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{said}.*run `git lfs pull` in {tmp_path}") as caught:
        load(resolve(folder))
    assert "\n" not in str(caught.value)


def test_a_gguf_file_that_git_lfs_did_not_fetch_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text(POINTER, encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.gguf: a git-lfs pointer"):
        load(resolve(str(tmp_path / "model.gguf")))


def test_truncated_weights_are_one_line(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load(resolve(folder))
    assert "\n" not in str(caught.value)


def test_config_without_blocks_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    checkpoints.edit_config(tmp_path, n_layer=0)
    with pytest.raises(ModelError, match=r"states no blocks .*give a decoder of one block or more"):
        identify(resolve(folder))


def test_config_that_needs_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    checkpoints.edit_config(tmp_path, model_type="my-own", auto_map={"AutoConfig": "own.Config"})
    (tmp_path / "own.py").write_text("raise SystemExit('code was run')", encoding="utf-8")
    with pytest.raises(ModelError, match="code that comes with its weights, which is never run"):
        identify(resolve(folder))


def test_config_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.gpt2(), tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"cannot read .*config\.json"):
        identify(resolve(folder))


def test_rates_that_a_formula_began_and_training_left_are_no_copies(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8, "vocab_size": 97}
    model = MambaForCausalLM(MambaConfig(**sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    decay = [p for name, p in model.named_parameters() if name.endswith("A_log")]
    assert torch.equal(decay[0], decay[2])
    model.save_pretrained(tmp_path)
    assert [c.name for c in load(resolve(str(tmp_path))).checks if not c.passed] == []
    # A matrix of another kind that lies there twice is still one.
    with torch.no_grad():
        first, _, third = (layer.mixer.in_proj.weight for layer in model.backbone.layers)
        third.copy_(first)
    model.save_pretrained(tmp_path)
    checks = {c.name: c.detail for c in load(resolve(str(tmp_path))).checks if not c.passed}
    assert "layers.2.mixer.in_proj.weight" in checks["weights-alive"]
