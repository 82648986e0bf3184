"""Each thing that cannot be measured is told in one line that says what is wrong and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import checkpoints
from support.planted import VOCAB, planted
from transformers import AutoModelForCausalLM

from refutable.capture.measure import measure
from refutable.errors import InstrumentError, ModelError, NotAvailableError
from refutable.measurement.instrument import check
from refutable.models.checkpoint import read_checkpoint
from refutable.models.encode import Encoded
from refutable.models.identify import identify
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.models.small import small_config
from refutable.models.sources import hub
from refutable.models.spec import ModelSource, ModelSpec
from refutable.observables.attention import AttentionEntropy
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import parse_prompts

NORMS = [REGISTRY["residual_norm"]]


def encoded(*ids: tuple[int, ...]) -> Encoded:
    names = tuple(f"f{at}/0" for at in range(len(ids)))
    return Encoded(ids, names, names, "no-bos", None)


def test_one_prompt_that_overflows_is_named() -> None:
    model = planted()
    with torch.no_grad():
        model.wte.weight[7, 0] = float("inf")
    prompts = encoded((3, 4, 5), (9, 10), (11, 7, 12), (13, 14, 15, 16))
    with pytest.raises(InstrumentError, match=r"1 of 4 prompts .* \(the first is f2/0, residual"):
        measure(model, find_sites(model), prompts, NORMS, layout="single")


def test_a_prompt_longer_than_a_table_is_told_and_no_traceback() -> None:
    model = planted()
    long = encoded(tuple(3 + i % 90 for i in range(70)))
    with pytest.raises(InstrumentError, match="cannot run 1 rows of 70 tokens"):
        measure(model, find_sites(model), long, [REGISTRY["residual_norm"]], layout="single")


def test_rows_of_a_table_that_padding_keeps_are_no_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import RobertaConfig, RobertaForCausalLM

    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    config = RobertaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
        is_decoder=True,
        pad_token_id=1,
    )
    checkpoints.trained(RobertaForCausalLM(config)).save_pretrained(tmp_path / "model")
    assert identify(resolve(str(tmp_path / "model"))).facts.context == 64


def test_an_encoder_by_its_own_config_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    checkpoints.save(checkpoints.llama(), folder)
    checkpoints.edit_config(folder, is_causal=False)
    with pytest.raises(ModelError, match="predicts no next token"):
        identify(resolve(str(folder)))
    checkpoints.edit_config(folder, is_causal=True, architectures=["LlamaForMaskedLM"])
    with pytest.raises(ModelError, match="saved as LlamaForMaskedLM"):
        identify(resolve(str(folder)))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the hub's cache with one snapshot, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--org--small"
    checkpoints.save(checkpoints.llama(), folder / "snapshots" / ("a" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    return folder


def test_a_revision_that_is_not_cached_is_named_with_those_that_are(repository: Path) -> None:
    spec = ModelSpec("small", ModelSource.HUB, "org/small", revision="v3")
    with pytest.raises(ModelError, match=r"org/small at revision v3 .* main, a{12}"):
        hub.preflight(spec)


def test_a_part_of_a_download_says_what_is_there(repository: Path) -> None:
    with pytest.raises(ModelError, match="it is a repository of the hub's cache"):
        read_checkpoint(repository)
    snapshot = repository / "snapshots" / ("a" * 40)
    weights = snapshot / "model.safetensors"
    shutil.move(weights, repository / "blob")
    with pytest.raises(ModelError, match=r"only config\.json.* and no weights"):
        read_checkpoint(snapshot, safe_only=True)
    weights.symlink_to(repository / "gone")
    with pytest.raises(ModelError, match="leads to a file that is not there"):
        read_checkpoint(snapshot, safe_only=True)


def test_rows_of_attention_sinks_are_made_to_sum_to_one() -> None:
    rows = np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]])
    left = np.array([1.0, 0.4, 0.9])[:, None]

    def entropy(pattern: Any) -> float:
        view = SimpleNamespace(
            pattern=torch.tensor(pattern[None, None], dtype=torch.float32),
            row_mean=lambda values: values[..., 1:].mean(-1),
        )
        return float(AttentionEntropy().reduce(view)[0, 0])  # type: ignore[arg-type]

    def shannon(row: Any) -> float:
        return float(-(row[row > 0] * np.log(row[row > 0])).sum())

    wanted = np.mean([shannon(rows[1]) / np.log(2), shannon(rows[2]) / np.log(3)])
    assert entropy(rows) == pytest.approx(wanted, rel=1e-5)
    assert entropy(rows * left) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("length", [16, 17])
def test_a_state_of_linear_attention_is_no_pattern_at_any_length(length: int) -> None:
    """MiniMax returns a state of head_dim x head_dim, the shape of a pattern of 16 tokens."""
    model = checkpoints.trained(AutoModelForCausalLM.from_config(small_config("minimax")))
    sites = find_sites(model)
    lightning = [i for i, b in enumerate(sites.blocks) if "Lightning" in repr(b.self_attn)]
    assert lightning
    prompts = encoded(*(tuple(3 + (7 * i + k) % 90 for k in range(length)) for i in range(3)))
    with pytest.raises(NotAvailableError, match="LightningAttention neither uses"):
        measure(model, sites, prompts, [REGISTRY["attention_entropy"]], layout="single")


def test_prompts_that_bring_a_special_token_are_told_from_markup() -> None:
    def first(**family: Any) -> bool:
        table = {"family": [{"name": "a", **family}]}
        return parse_prompts(table, origin="x", default_name="x").may_begin_with(49)

    assert first(prompts=["<|im_start|>user\nHello"])
    assert first(prompts=["plain", "<s> w1"])
    assert first(input_ids=[[3, 4], [49, 3]])
    assert not first(prompts=["<ul><li>a", "[1] see", "a < b"])
    assert not first(input_ids=[[3, 49]])


def test_the_checks_say_how_much_was_compared() -> None:
    model = planted()
    prompts = encoded(*((3 + i, 4 + i, 5 + i) for i in range(9)))
    measured = check(SimpleNamespace(model=model), find_sites(model), prompts, [])  # type: ignore[arg-type]
    detail = next(c.detail for c in measured.checks if c.name == "layout")
    assert "(9 compared)" in detail
