"""Reading twins at a loss fixed beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

from refutable.errors import NotAvailableError
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.studies.norm_ablation.observables import equal_loss
from refutable.studies.norm_ablation.observables.equal_loss import at_level, crossing
from refutable.training.data import TwinData
from refutable.training.recipe import TwinRecipe, variant_named
from refutable.training.ship import ship
from refutable.training.train import train_twin

CURVE = [(0, 7.0), (50, 6.2), (100, 5.5), (150, 5.1), (200, 4.9), (250, 4.7), (300, 4.6)]
TINY = TwinRecipe(
    blocks=2, width=16, heads=2, vocabulary=40, context=12, steps=60, batch=4, warmup=4,
    learning_rate=1e-2, evaluate_every=5, checkpoint_every=10, log_every=5, evaluation_rows=6,
    final_rows=8,
)  # fmt: skip


def test_the_crossing_is_interpolated_in_the_loss() -> None:
    assert crossing(CURVE, 5.0) == (150, 200, pytest.approx(0.5))
    # Only checkpoints count: 5.5 at step 100 and 4.9 at step 200.
    assert crossing(CURVE, 5.0, 100) == (100, 200, pytest.approx(5 / 6))
    assert crossing(CURVE, 5.5) == (100, 150, 0.0)


def test_a_loss_that_was_never_reached_is_not_available() -> None:
    with pytest.raises(NotAvailableError, match=r"never passed a held-out loss of 4\.5 nats"):
        crossing(CURVE, 4.5)


def embedding_sum(loaded: Any) -> xr.DataArray:
    return xr.DataArray(float(loaded.model.transformer.wte.weight.double().sum()))


def test_checkpoints_around_the_level_are_interpolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    rows = np.cumsum(random.integers(1, 3, 3000)) % 39 + 1
    data = TwinData(rows[:2400], rows[2400:], "planted")
    run = tmp_path / "run"
    log = train_twin(variant_named("none"), 1, TINY, data, run, show_progress=False)
    ship(run, run / "checkpoint")
    losses = dict(log.evaluations)
    # Three quarters of the way from step 20 to step 30.
    level = losses[20] / 4 + 3 * losses[30] / 4
    assert losses[30] < level < losses[20]
    monkeypatch.setattr(equal_loss, "LEVEL", level)
    values = at_level(load(resolve(str(run / "checkpoint"))), embedding_sum)

    def kept(step: int) -> float:
        file = load_file(run / f"step-{step}.safetensors")
        return float(file["transformer.wte.weight"].astype(np.float64).sum())

    assert float(values) == pytest.approx(kept(20) / 4 + 3 * kept(30) / 4, rel=1e-4)
    assert abs(kept(20) - kept(30)) > 1e-2 * abs(float(values))


def test_without_checkpoints_of_training_it_is_not_available() -> None:
    with pytest.raises(NotAvailableError, match="checkpoints of tiny-layernorm's training are not"):
        at_level(load(resolve("tiny-layernorm")), embedding_sum)
