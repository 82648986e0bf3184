"""Shipped twins: their digests, and what happens when missing norms were saved as identities."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.system.paths import fixtures
from refutable.training.recipe import EIGHT_SEEDS, RECIPES, TRAINED, runs


def saved_as_gpt2(twin: str, folder: Path) -> Path:
    """Save a trained twin as plain GPT-2, with an identity for each norm it does not have."""
    source = load(resolve(twin))
    known = source.model.config.to_dict()
    config = GPT2Config(**{k: known[k] for k in GPT2Config().to_dict() if k in known})
    config.architectures, config.dtype = ["GPT2LMHeadModel"], "float32"
    model = GPT2LMHeadModel(config)
    held = source.model.state_dict()
    # GPT-2's own norms start as identities: gain 1, bias 0.
    model.load_state_dict({**model.state_dict(), **held})
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("twin", "names"),
    [
        ("twin-none-0", "ln_1, ln_2"),
        ("twin-layernorm-attention-0", "ln_2"),
        ("twin-layernorm-ffn-0", "ln_1"),
    ],
)
def test_identities_under_ordinary_names_are_refused(twin: str, names: str, tmp_path: Path) -> None:
    model = load(resolve(str(saved_as_gpt2(twin, tmp_path / "planted"))))
    # The LayerNorms that transformers puts back change what the model computes ...
    ids = torch.arange(30)[None]
    gap = model.model(ids).logits - load(resolve(twin)).model(ids).logits
    assert float(gap.abs().max()) > 1
    # ... while every tensor was found: the gains alone tell, and the message explains.
    (failed,) = [check for check in model.checks if not check.passed]
    assert failed.name == "norm-gains"
    assert "identities under their names" in failed.detail
    assert f"({names})" in failed.detail


def test_a_twin_with_all_its_norms_is_let_through(tmp_path: Path) -> None:
    model = load(resolve(str(saved_as_gpt2("twin-layernorm-both-0", tmp_path / "whole"))))
    assert [check.name for check in model.checks if not check.passed] == []
    ids = torch.arange(30)[None]
    same = load(resolve("twin-layernorm-both-0")).model(ids).logits
    assert torch.allclose(model.model(ids).logits, same, atol=1e-4)


def test_shipped_weights_are_those_of_the_list_of_runs() -> None:
    with (fixtures() / "twins" / "runs.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    early = {(row["variant"], int(row["seed"])) for row in listed if row["recipe"] == "early"}
    assert early == set(runs())
    shipped = 0
    for row in listed:
        suffix = "" if row["recipe"] == "early" else f"-{row['recipe']}"
        whole = int(row["steps"]) == RECIPES[row["recipe"]].steps
        folder = fixtures() / "twins" / f"{row['variant']}{suffix}" / f"seed-{row['seed']}"
        if whole and folder.exists():
            shipped += 1
            digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            assert digest == row["weights_sha256"]
    assert shipped == len(list((fixtures() / "twins").glob("*/seed-0")))
    assert len({row["weights_sha256"] for row in listed}) == len(listed)


def test_trained_twins_beat_the_trigram_of_their_tokens() -> None:
    with (fixtures() / "twins" / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if int(r["steps"]) == TRAINED.steps]
    by_norms = [r for r in rows if r["variant"] in EIGHT_SEEDS]
    tuned = [r for r in by_norms if r["recipe"] == "tuned"]
    assert len(tuned) >= 3
    assert len(by_norms) == 24 + len(tuned)
    assert all(float(r["held_out_loss"]) < float(r["trigram_loss"]) for r in by_norms)
