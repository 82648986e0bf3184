"""Damaged files, stray fields, second sets of things: further inputs of kinds met in the field."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import checkpoints
from transformers import AutoModelForCausalLM

from refutable.errors import ModelError, RefutableError
from refutable.models.identify import identify
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.small import build_small, small_config

pytestmark = pytest.mark.usefixtures("cache")

Tensors = dict[str, torch.Tensor]
LAST = "model.layers.2.mlp.up_proj.weight"


def checks(folder: Path | str) -> dict[str, str]:
    """Say of each failed check what is wrong; of the whole, where nothing could be loaded."""
    try:
        return {c.name: c.detail for c in load(resolve(str(folder))).checks if not c.passed}
    except RefutableError as problem:
        return {"load": str(problem)}


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    held = {name: value.contiguous().clone() for name, value in tensors.items()}
    save_file(held, path, metadata={"format": "pt"})


def _set(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda held: held | {name: change(held[name])}


def _gap(start: int, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(value: torch.Tensor) -> torch.Tensor:
        flat = value.clone().reshape(-1)
        flat[start : start + count] = 0
        return flat.reshape(value.shape)

    return change


def _whole(value: torch.Tensor) -> torch.Tensor:
    return (value / value.abs().max() * 127).round()


DAMAGES: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "a page of zeros inside": (
        _set("model.embed_tokens.weight", _gap(20 * 32 + 13, 4 * 32)),
        "rows of model.embed_tokens.weight, from the middle of a row",
    ),
    "an end of zeros": (
        _set(LAST, _gap(48 * 32 - 3 * 32 - 9, 3 * 32 + 9)),
        f"rows of {LAST}, from the middle of a row",
    ),
    "a gain of zeros": (
        _set("model.layers.1.input_layernorm.weight", torch.zeros_like),
        "model.layers.1.input_layernorm.weight is 0 throughout and in other blocks is not",
    ),
    "one row everywhere": (
        _set("model.embed_tokens.weight", lambda v: v[5:6].expand_as(v)),
        "model.embed_tokens.weight is the same row throughout",
    ),
    "one number a row": (
        _set(LAST, lambda v: v[:, :1].expand_as(v)),
        f"{LAST} is one number throughout each row",
    ),
    "int8 turned to floats": (
        _set(LAST, _whole),
        f"{LAST} is whole numbers alone, as of a quantized type without its scale",
    ),
    "keys copied over queries of another block": (
        lambda held: (
            held
            | {
                "model.layers.0.self_attn.k_proj.weight": held[
                    "model.layers.2.self_attn.v_proj.weight"
                ]
            }
        ),
        "model.layers.0.self_attn.k_proj.weight = model.layers.2.self_attn.v_proj.weight",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_within_a_file_is_named(tmp_path: Path, damage: str) -> None:
    change, told = DAMAGES[damage]
    checkpoints.save(checkpoints.llama(), tmp_path)
    rewrite(tmp_path, change)
    assert told in checks(tmp_path)["weights-alive"]
    # What was seen of these very files is remembered, and told again.
    assert told in checks(tmp_path)["weights-alive"]


def test_what_is_no_damage_passes(tmp_path: Path) -> None:
    def change(held: Tensors) -> Tensors:
        held["model.embed_tokens.weight"][-9:] = 0
        held["model.layers.0.mlp.gate_proj.weight"][4:8] = 0
        copied = {n.replace(".1.", ".2."): v for n, v in held.items() if ".layers.1." in n}
        return held | copied

    checkpoints.save(checkpoints.llama(), tmp_path)
    rewrite(tmp_path, change)
    by_name = {c.name: c for c in load(resolve(str(tmp_path))).checks}
    assert all(check.passed for check in by_name.values())
    assert by_name["weights-alive"].detail == "block 2 repeats block 1"


@pytest.mark.parametrize(("weight", "told"), [(0.0, False), (-1.0, True)])
def test_a_gain_of_one_plus_weight_may_be_folded_and_not_be_nothing(
    tmp_path: Path, weight: float, told: bool
) -> None:
    config = small_config("gemma")
    config.num_hidden_layers = 3
    build_small(config).save_pretrained(tmp_path)
    name = "model.layers.1.post_attention_layernorm.weight"
    rewrite(tmp_path, _set(name, lambda v: torch.full_like(v, weight)))
    assert (f"{name} is -1 throughout" in checks(tmp_path).get("weights-alive", "")) is told


def test_numbers_that_are_not_finite_in_a_saved_buffer_are_named(tmp_path: Path) -> None:
    build_small(small_config("deepseek_v3")).save_pretrained(tmp_path)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    rewrite(tmp_path, _set(name, lambda v: torch.full_like(v, float("nan"))))
    assert name in checks(tmp_path)["weights-finite"]


def test_quantized_experts_without_scales_are_refused_whatever_their_names(tmp_path: Path) -> None:
    build_small(small_config("gpt_oss")).save_pretrained(tmp_path)
    names = [n for n in load_file(tmp_path / "model.safetensors") if n.endswith("gate_up_proj")]
    rewrite(tmp_path, _set(names[0], lambda v: _whole(v).to(torch.int8)))
    made = checks(tmp_path)
    assert names[0] in made.get("weights-type", "") + made.get("load", ""), made


def test_a_stated_quantization_whose_scales_are_gone_is_refused(tmp_path: Path) -> None:
    def change(held: Tensors) -> Tensors:
        return {n: v.to(torch.float8_e4m3fn) if "proj" in n else v for n, v in held.items()}

    checkpoints.save(checkpoints.llama(), tmp_path)
    rewrite(tmp_path, change)
    stated = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
    checkpoints.edit_config(tmp_path, quantization_config=stated)
    assert checks(tmp_path) != {}


@pytest.mark.parametrize(("layers", "name"), [(2, "weights-used"), (4, "weights-complete")])
def test_another_number_of_layers_than_the_files_is_refused(
    tmp_path: Path, layers: int, name: str
) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    checkpoints.edit_config(tmp_path, num_hidden_layers=layers)
    assert name in checks(tmp_path)


def test_files_that_are_none_are_told_from_damaged_ones(tmp_path: Path) -> None:
    checkpoints.llama().save_pretrained(tmp_path, max_shard_size="40KB")
    index = tmp_path / "model.safetensors.index.json"
    shard = sorted(tmp_path.glob("model-*.safetensors"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git-lfs pointer" in checks(tmp_path)["load"]
    shard.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    assert "is a web page" in checks(tmp_path)["load"]
    shard.write_bytes(b"")
    assert "cannot be read" in checks(tmp_path)["load"]
    shard.write_bytes(whole)
    assert checks(tmp_path) == {}
    index.unlink()
    assert "no index that says what lies in which" in checks(tmp_path)["load"]


def test_double_precision_is_read_as_it_is(tmp_path: Path) -> None:
    model = checkpoints.llama()
    checkpoints.save(model, tmp_path)
    rewrite(tmp_path, lambda held: {n: v.double() for n, v in held.items()})
    assert checks(tmp_path) == {}
    ids = torch.arange(3, 20)[None]
    read = load(resolve(str(tmp_path))).model
    torch.testing.assert_close(read(ids).logits, model.requires_grad_(False)(ids).logits)


# -- what a config states -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope_freq_base", 5e5),
        ("freq_base", 5e5),
        ("max_wavelength", 5e5),
        ("rotary_pct", 0.5),
        ("position_scale", 4.0),
        ("attention_temperature", 2.0),
        ("logits_scaling", 8.0),
        ("embedding_multiplier", 12.0),
        ("ntk_factor", 4.0),
        ("mup_scale", 4.0),
        ("depth_scaling", 0.2),
        ("longrope_scaling", {"short": [1.0], "long": [2.0]}),
    ],
)
def test_a_stray_field_that_would_change_the_arithmetic_is_named(
    tmp_path: Path, field: str, value: Any
) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    checkpoints.edit_config(tmp_path, **{field: value})
    assert field in checks(tmp_path)["config-read"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_share_of_rotated_features_that_is_not_used_is_named(
    tmp_path: Path, inside: bool
) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    share = {"partial_rotary_factor": 0.5}
    rope = {"rope_type": "default", "rope_theta": 1e4, **share}
    checkpoints.edit_config(tmp_path, **({"rope_parameters": rope} if inside else share))
    made = checks(tmp_path)
    assert "partial_rotary_factor" in made.get("rotary-base", "") + made.get("config-read", "")


def test_factors_of_one_change_nothing_and_pass(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    checkpoints.edit_config(
        tmp_path, logits_scaling=1.0, embedding_multiplier=1, ntk_factor=1.0, mup_scale=1.0
    )
    assert checks(tmp_path) == {}


def test_code_of_a_checkpoints_own_is_named_where_a_class_stands_in_for_it(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('it was run')\n")
    code = {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    checkpoints.edit_config(tmp_path, auto_map=code)
    detail = {c.name: c.detail for c in load(resolve(str(tmp_path))).checks}["config-read"]
    assert "modeling_own.OwnForCausalLM" in detail
    assert "which is not run" in detail


# -- buffers of old checkpoints, and two tokenizers -----------------------------------------------


def table(size: int, rows: int = 64) -> torch.Tensor:
    angles = torch.arange(rows)[:, None] * 1e4 ** -(torch.arange(0, size, 2) / size)[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


@pytest.mark.parametrize("model_type", ["gptj", "codegen"])
@pytest.mark.parametrize("wrong", [False, True])
def test_tables_and_factors_that_a_class_keeps_are_left_aside(
    tmp_path: Path, model_type: str, wrong: bool
) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 8}
    config = type(small_config(model_type))(vocab_size=97, **sizes)
    model = checkpoints.trained(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(tmp_path)
    place = "transformer.h.{}.attn."
    added = {place + "embed_positions": table(8) * (1.5 if wrong else 1.0)}
    added |= {place + "scale_attn": torch.tensor(math.sqrt(8.0))}
    named = {name.format(at): value for name, value in added.items() for at in range(2)}
    rewrite(tmp_path, lambda held: held | named)
    made = checks(tmp_path)
    if wrong:
        assert "not those which the class computes" in made["weights-used"]
    else:
        assert made == {}


def test_two_tokenizers_in_one_folder_are_refused(tmp_path: Path) -> None:
    from refutable.system.paths import fixtures

    shutil.copytree(fixtures() / "tiny" / "rmsnorm", tmp_path / "model")
    vocabulary = json.loads((tmp_path / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    words = tmp_path / "model" / "vocab.json"
    words.write_text(json.dumps(vocabulary))
    assert identify(resolve(str(tmp_path / "model"))).facts.tokenizer
    first, second, *_ = vocabulary
    swapped = {**vocabulary, first: vocabulary[second], second: vocabulary[first]}
    words.write_text(json.dumps(swapped))
    with pytest.raises(ModelError, match=r"two tokenizers: .* \(2 tokens differ\)"):
        identify(resolve(str(tmp_path / "model")))


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_in_which_no_token_sees_itself_is_refused(tmp_path: Path, window: int) -> None:
    build_small(small_config("mistral")).save_pretrained(tmp_path)
    assert "config-read" not in checks(tmp_path)
    checkpoints.edit_config(tmp_path, sliding_window=window)
    assert f"sliding_window = {window}" in checks(tmp_path)["config-read"]


def test_an_older_and_a_newer_form_of_scaling_that_differ_are_refused(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    checkpoints.edit_config(tmp_path, rope_scaling={"type": "default"})
    assert "rotary-base" not in checks(tmp_path)
    checkpoints.edit_config(tmp_path, rope_scaling={"type": "linear", "factor": 2.0})
    assert "differ in factor, rope_type" in checks(tmp_path)["rotary-base"]


@pytest.mark.parametrize("same", [True, False])
def test_a_tensor_in_two_shards_is_refused_where_its_numbers_differ(
    tmp_path: Path, same: bool
) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    half = len(tensors) // 2
    parts = dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])
    name = next(iter(parts[0]))
    of_release = parts[0][name].clone() + (0 if same else 1)
    weight_map = {}
    for at, part in enumerate((parts[0], parts[1] | {name: of_release}), start=1):
        file = f"model-{at:05}-of-00002.safetensors"
        save_file(part, tmp_path / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(parts[at - 1], file)
    index = {"metadata": {}, "weight_map": weight_map}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert (name in checks(tmp_path).get("weights-once", "")) is not same


def test_square_masks_of_old_files_are_no_quantized_matrices(tmp_path: Path) -> None:
    build_small(small_config("gpt_bigcode")).save_pretrained(tmp_path)
    mask = torch.ones(128, 128, dtype=torch.bool).tril()
    rewrite(tmp_path, lambda held: held | {"transformer.h.0.attn.bias": mask})
    assert checks(tmp_path) == {}
    rewrite(tmp_path, lambda held: held | {"transformer.h.0.attn.bias": mask.T})
    assert "a mask whose row" in checks(tmp_path)["weights-used"]
