"""A run's estimates and readings follow from its two files alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import recompute

CLAIMS = [
    "gain.layernorm-dampens",
    "gain.layernorm-training-dampens",
    "gain.growth-slows-with-depth",
    "gain.register-orders-gain",
    "gain.layernorm-entropy-negative",
    "gain.rmsnorm-entropy-positive",
    "ablation.rmsnorm-reaches-loss",
    "ablation.larger-attention-weights",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import refutable

    made: Path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFUTABLE_CACHE", str(made / "cache"))
        results = refutable.verify([*CLAIMS])
        results.save(made)
    return made


@pytest.mark.slow
def test_every_estimate_of_a_run_is_recomputed_from_its_files(folder: Path) -> None:
    measured = list(recompute.compared(recompute.Run(folder)))
    assert [(label, wrong) for label, wrong in measured if wrong] == []
    run = recompute.Run(folder)
    kinds = {run.claims[r["claim"]]["prediction"]["kind"] for r in run.evidence["results"]}
    assert kinds >= {"mean", "against_control", "trend", "ordered", "contrast"}
    assert sum(label.endswith("model minus control") for label, _ in measured) >= 4


@pytest.mark.slow
def test_a_changed_observation_is_noticed(folder: Path) -> None:
    run = recompute.Run(folder)
    place = run.rows.index[run.rows["claim"] == "gain.layernorm-dampens"][0]
    run.rows.loc[place, "value"] += 0.5
    keys = ["claim", "model", "prompts", "arm"]
    run.cells = dict(tuple(run.rows.groupby(keys, sort=False)))
    wrong = [label for label, measured in recompute.compared(run) if measured]
    assert wrong
    assert all(label.startswith("gain.layernorm-dampens ") for label in wrong)
