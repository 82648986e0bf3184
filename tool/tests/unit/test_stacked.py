"""Twins trained side by side: the same step as one by one, and files that repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refutable.errors import RefutableError
from refutable.training.data import TwinData
from refutable.training.recipe import TRAINED, Variant, variant_named, variant_of
from refutable.training.stacked import Member, Stack
from refutable.training.stacked_run import Job, train_stacks
from refutable.training.train import _Run

SMALL = replace(
    TRAINED, blocks=2, width=16, heads=2, vocabulary=64, context=16, steps=8, batch=4, warmup=2,
    evaluate_every=2, log_every=2, checkpoints=(4, 8), evaluation_rows=4, final_rows=8,
)  # fmt: skip
VARIANTS = (
    variant_named("layernorm-both"),
    variant_named("rmsnorm-ffn"),
    variant_named("none"),
    variant_named("layernorm-both-no-positions"),
    variant_of("dyt"),
)


@pytest.fixture(scope="module")
def data() -> TwinData:
    random = np.random.default_rng(0)
    return TwinData(random.integers(1, 64, 3000), random.integers(1, 64, 400), "planted")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_a_stack_takes_the_steps_of_single_runs(variant: Variant, data: TwinData) -> None:
    members = (Member(0, SMALL), Member(3, replace(SMALL, learning_rate=1e-3)))
    stack = Stack(variant, members, data, "cpu")
    stack.advance(5)
    for index, (member, tensors) in enumerate(zip(members, stack.tensors(), strict=True)):
        run = _Run(variant, member.seed, member.recipe, data, "cpu")
        losses = [run.step() for _ in range(5)]
        np.testing.assert_allclose(stack.losses[index, :5], losses, rtol=1e-5)
        parameters = dict(run.model.named_parameters())
        assert set(parameters) == set(tensors)
        for name, tensor in parameters.items():
            torch.testing.assert_close(tensors[name], tensor.detach(), atol=2e-4, rtol=0)


def _jobs(out: Path, recipe=SMALL) -> list[Job]:
    def job(variant: Variant) -> Job:
        folders = tuple(out / f"{variant.name}-{seed}" for seed in (0, 1))
        return Job(variant, (Member(0, recipe), Member(1, recipe)), folders)

    return [job(variant_named("none")), job(variant_of("dyt"))]


def _weights(out: Path) -> dict[str, bytes]:
    return {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.rglob("*.safetensors"))}


def test_stopped_stacks_go_on_bit_for_bit(
    tmp_path: Path, data: TwinData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    train_stacks(_jobs(tmp_path / "a"), data, "cpu", show_progress=False)
    # Each sitting ends at the next kept checkpoint at the latest.
    for _ in range(4):
        train_stacks(_jobs(tmp_path / "b"), data, "cpu", show_progress=False, deadline=0)
    train_stacks(_jobs(tmp_path / "b"), data, "cpu", show_progress=False, side_by_side=1)
    whole = _weights(tmp_path / "a")
    assert "none-0/step-4.safetensors" in whole
    assert _weights(tmp_path / "b") == whole


def test_a_folder_with_another_recipe_is_refused(
    tmp_path: Path, data: TwinData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    train_stacks(_jobs(tmp_path)[:1], data, "cpu", show_progress=False)
    other = _jobs(tmp_path, replace(SMALL, learning_rate=1e-3))[:1]
    with pytest.raises(RefutableError, match="another recipe or corpus"):
        train_stacks(other, data, "cpu", show_progress=False)
