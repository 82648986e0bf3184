"""What is no decoder, no whole mixture, no readable matrix: one line each, and never a number."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from support import checkpoints

from refutable.errors import RefutableError
from refutable.measurement.instrument import check
from refutable.models.encode import Encoded
from refutable.models.identify import identify
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.models.small import build_small, small_config
from refutable.models.sources import hub
from refutable.models.spec import ModelSource, ModelSpec
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("cache")

Tensors = dict[str, torch.Tensor]
IDS = tuple(tuple(int(i) for i in np.random.default_rng(n).integers(4, 97, n)) for n in (5, 9, 14))
NAMES = tuple(f"f{at}/0" for at in range(len(IDS)))
PROMPTS = Encoded(IDS, NAMES, NAMES, "no-bos", None)
SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def refusals(folder: Path | str) -> list[str]:
    """Each reason why a folder is not measured; empty when it is."""
    try:
        loaded = load(resolve(str(folder)))
        failed = [c.detail for c in loaded.checks if not c.passed]
        if failed:
            return failed
        result = check(loaded, find_sites(loaded.model), PROMPTS, [REGISTRY["top_token"]])
        return [c.detail for c in result.checks if not c.passed]
    except RefutableError as problem:
        return [str(problem)]


HALVES: dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 32}
HALVES |= {f"{half}_attention_heads": 4 for half in ("encoder", "decoder")}
HALVES |= {f"{half}_ffn_dim": 48 for half in ("encoder", "decoder")}
NO_DECODERS: dict[str, tuple[str, Any]] = {
    "encoder and decoder": (
        "T5ForConditionalGeneration",
        lambda: hf.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
    ),
    "a whole BART": (
        "BartForConditionalGeneration",
        lambda: hf.BartConfig(vocab_size=97, max_position_embeddings=64, **HALVES),
    ),
    "an encoder without a head": ("BertModel", lambda: hf.BertConfig(**SMALL)),
    "a classifier": ("BertForSequenceClassification", lambda: hf.BertConfig(**SMALL)),
    "a discriminator": (
        "ElectraForPreTraining",
        lambda: hf.ElectraConfig(**SMALL, embedding_size=32),
    ),
    "a masked model": ("ModernBertForMaskedLM", lambda: hf.ModernBertConfig(**SMALL)),
    "a masked RoBERTa": ("RobertaForMaskedLM", lambda: hf.RobertaConfig(**SMALL)),
    "a distilled one": (
        "DistilBertForMaskedLM",
        lambda: hf.DistilBertConfig(vocab_size=97, dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    ),
    "a reward model": ("LlamaForSequenceClassification", lambda: hf.LlamaConfig(**SMALL)),
    "a decoder without its head": ("LlamaModel", lambda: hf.LlamaConfig(**SMALL)),
    "a picture model": (
        "ViTModel",
        lambda: hf.ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_DECODERS)
def test_what_is_no_causal_language_model_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    kind, config = NO_DECODERS[name]
    torch.manual_seed(0)
    checkpoints.trained(getattr(hf, kind)(config())).save_pretrained(tmp_path)
    told = refusals(tmp_path)
    assert told
    assert all("\n" not in line and "Traceback" not in line for line in told)


def test_a_tied_decoder_without_its_head_is_whole(tmp_path: Path) -> None:
    config = hf.LlamaConfig(**SMALL, tie_word_embeddings=True)
    checkpoints.trained(hf.LlamaModel(config)).save_pretrained(tmp_path)
    assert refusals(tmp_path) == []


# -- mixtures -------------------------------------------------------------------------------------


def _numbered_from_one(held: Tensors) -> Tensors:
    def name(key: str) -> str:
        head, mark, rest = key.partition(".layers.1.block_sparse_moe.experts.")
        number, _, tail = rest.partition(".")
        return f"{head}{mark}{int(number) + 1}.{tail}" if mark else key

    return {name(key): value for key, value in held.items()}


EXPERT = "model.layers.1.block_sparse_moe.experts.{}."
MIXTURES: dict[str, Callable[[Tensors], Tensors]] = {
    "an expert missing": lambda held: {
        n: v for n, v in held.items() if not n.startswith(EXPERT.format(3))
    },
    "the last expert missing": lambda held: {
        n: v for n, v in held.items() if not n.startswith(EXPERT.format(11))
    },
    "an expert too many": lambda held: (
        held
        | {
            n.replace("experts.3.", "experts.12."): v.clone()
            for n, v in held.items()
            if n.startswith(EXPERT.format(3))
        }
    ),
    "numbered from one": _numbered_from_one,
    "a router for fewer": lambda held: {
        n: v[:10].clone() if n == "model.layers.1.block_sparse_moe.gate.weight" else v
        for n, v in held.items()
    },
}


@pytest.mark.parametrize("fault", MIXTURES)
def test_a_mixture_that_is_not_whole_is_refused_and_never_wrong(tmp_path: Path, fault: str) -> None:
    config = hf.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=12)
    torch.manual_seed(0)
    model = checkpoints.trained(hf.MixtralForCausalLM(config)).requires_grad_(False)
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    held = load_file(path)
    changed = MIXTURES[fault](held)
    assert changed.keys() != held.keys() or fault == "a router for fewer"
    save_file({n: v.contiguous() for n, v in changed.items()}, path, metadata={"format": "pt"})
    told = refusals(tmp_path)
    if fault == "numbered from one" and not told:
        # Their order is what counts.
        ids = torch.arange(3, 20)[None]
        read = load(resolve(str(tmp_path))).model
        torch.testing.assert_close(read(ids).logits, model(ids).logits)
    else:
        assert told


# -- weights that are read without the model -------------------------------------------------------


def _packed(name: str, value: torch.Tensor, how: str) -> Tensors:
    size, bare = value.numel(), name.removesuffix(".weight")
    if how == "nf4":
        return {
            name: torch.zeros(size // 2, 1, dtype=torch.uint8),
            f"{name}.absmax": torch.ones(max(size // 64, 1)),
        }
    if how == "gptq":
        rows = value.shape[1] // 8
        return {
            f"{bare}.qweight": torch.zeros(rows, value.shape[0], dtype=torch.int32),
            f"{bare}.scales": torch.ones(1, value.shape[0]),
        }
    if how == "int8":
        return {name: (value * 40).to(torch.int8), f"{bare}.SCB": value.abs().amax(1)}
    return {name: value.to(torch.float8_e4m3fn), f"{name}_scale_inv": torch.ones(1, 1)}


@pytest.mark.parametrize("how", ["nf4", "gptq", "int8", "fp8"])
def test_quantized_matrices_are_not_read_as_numbers(tmp_path: Path, how: str) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    path = tmp_path / "model.safetensors"
    packed: Tensors = {}
    for name, value in load_file(path).items():
        packed |= _packed(name, value, how) if "proj" in name else {name: value}
    save_file({n: v.contiguous() for n, v in packed.items()}, path, metadata={"format": "pt"})
    with pytest.raises(RefutableError) as caught:
        WeightReader.from_folder(tmp_path).matrix(0, "q")
    assert "\n" not in str(caught.value)


def test_weights_of_a_decoder_beside_a_picture_encoder_are_read_under_their_older_names(
    tmp_path: Path,
) -> None:
    model = build_small(small_config("gemma3"))
    model.save_pretrained(tmp_path)
    wanted = model.get_submodule("model.language_model").layers[1].self_attn.q_proj.weight.numpy()
    np.testing.assert_array_equal(WeightReader.from_folder(tmp_path).matrix(1, "q"), wanted.T)


@pytest.mark.parametrize(
    "stated",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
    ],
)
def test_a_quantization_whose_library_is_not_here_names_the_library(
    tmp_path: Path, stated: dict[str, Any]
) -> None:
    checkpoints.save(checkpoints.llama(), tmp_path)
    checkpoints.edit_config(tmp_path, quantization_config=stated)
    told = refusals(tmp_path)
    assert "needs a package which is not here" in told[0]
    assert "download" not in told[0]


# -- the hub's cache -------------------------------------------------------------------------------

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--org--small"
    for commit, seed in ((FIRST, 0), (SECOND, 1)):
        checkpoints.trained(checkpoints.llama(), seed).save_pretrained(
            folder / "snapshots" / commit
        )
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(f"{FIRST}\n")
    (folder / "refs" / "v2").write_text(SECOND)
    return folder


@pytest.mark.parametrize(
    ("revision", "commit"),
    [("main", FIRST), ("v2", SECOND), (FIRST, FIRST), (SECOND, SECOND), (None, FIRST)],
)
def test_a_revision_is_the_one_that_is_named(
    repository: Path, revision: str | None, commit: str
) -> None:
    spec = ModelSpec("small", ModelSource.HUB, "org/small", revision=revision)
    assert hub.locate(spec).folder.name == commit


@pytest.mark.parametrize("revision", ["v3", "c" * 40, "../main"])
def test_a_revision_that_is_not_there_is_one_line(repository: Path, revision: str) -> None:
    spec = ModelSpec("small", ModelSource.HUB, "org/small", revision=revision)
    with pytest.raises(RefutableError) as caught:
        hub.locate(spec)
    assert "\n" not in str(caught.value)


def test_an_index_that_leaves_out_a_tensor_is_refused_or_right(tmp_path: Path) -> None:
    model = checkpoints.llama().requires_grad_(False)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.layers.1.mlp.up_proj.weight"]
    path.write_text(json.dumps(index))
    if not refusals(tmp_path):
        ids = torch.arange(3, 20)[None]
        read = load(resolve(str(tmp_path))).model
        torch.testing.assert_close(read(ids).logits, model(ids).logits)


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight"])
def test_a_tied_model_with_one_of_its_two_names_is_refused_or_right(
    tmp_path: Path, kept: str
) -> None:
    model = checkpoints.llama(tie_word_embeddings=True).requires_grad_(False)
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    held = load_file(path)
    table = held.pop("model.embed_tokens.weight")
    save_file(held | {kept: table}, path, metadata={"format": "pt"})
    if not refusals(tmp_path):
        ids = torch.arange(3, 20)[None]
        read = load(resolve(str(tmp_path))).model
        torch.testing.assert_close(read(ids).logits, model(ids).logits)


@pytest.mark.parametrize("form", ["shards", "pickle"])
def test_another_release_of_equal_size_and_time_is_another_model(tmp_path: Path, form: str) -> None:
    def put(seed: int) -> str:
        torch.manual_seed(seed)
        model = checkpoints.trained(checkpoints.llama(), seed)
        if form == "shards":
            model.save_pretrained(tmp_path, max_shard_size="40KB")
        else:
            model.config.save_pretrained(tmp_path)
            torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        for file in tmp_path.iterdir():
            os.utime(file, (0, 0))
        return identify(resolve(str(tmp_path))).weights_digest

    assert len({put(0), put(1), put(2)}) == 3
