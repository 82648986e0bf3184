"""A run's estimates, readings and verdicts follow from its two files alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import files
import pandas as pd
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
    "ablation.norm-kind-changes-representations",
    "ablation.tanh-helps-when-data-are-scarce",
    "attention.rows-sum-to-one",
    "literature.heavy-tails",
    "literature.massive-entries",
    "thoughts.attention-static",
    "weights.dimension-shows-training",
]
KINDS = {
    "mean", "against_control", "trend", "ordered", "contrast", "contrast_along", "across",
    "correlation", "every", "fact", "share", "over_seeds", "rank",
}  # fmt: skip


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
def test_every_number_of_a_run_is_recomputed_from_its_files(folder: Path) -> None:
    run = files.Run(folder)
    measured = list(recompute.compared(run))
    assert [(label, wrong) for label, wrong in measured if wrong] == []
    assert {run.prediction(result)["kind"] for result in run.evidence["results"]} >= KINDS
    decided = [r for r in run.evidence["results"] if r["verdict"] is not None]
    controlled = [r for r in decided if r["control"] is not None]
    ends = [label.rsplit(" ", 1)[-1] for label, _ in measured]
    assert ends.count("verdict") == len(decided)
    assert ends.count("reading") == len(controlled)
    assert sum(label.endswith("model minus control") for label, _ in measured) == len(controlled)


def _shifted(run: files.Run, of_claim: pd.Series) -> None:
    run.rows.loc[run.rows.index[of_claim][0], "value"] += 0.5


def _without_copies(run: files.Run, of_claim: pd.Series) -> None:
    run.rows = run.rows[~(of_claim & run.rows["control"].notna())]


def _without_rows(run: files.Run, of_claim: pd.Series) -> None:
    run.rows = run.rows[~of_claim]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "damage", "expected"),
    [
        ("gain.layernorm-dampens", _shifted, "recomputed"),
        ("gain.layernorm-dampens", _without_copies, "recorded, and not recomputed"),
        ("literature.heavy-tails", _without_copies, "recorded, and not recomputed"),
        ("literature.massive-entries", _without_rows, "recorded, and not recomputed"),
        ("weights.dimension-shows-training", _without_rows, "recorded, and not recomputed"),
    ],
)
def test_what_is_changed_or_cannot_be_recomputed_is_noticed(
    folder: Path, claim: str, damage: Callable[[files.Run, pd.Series], None], expected: str
) -> None:
    run = files.Run(folder)
    kept = (claim, "ablation.rmsnorm-reaches-loss")
    run.evidence["results"] = [r for r in run.evidence["results"] if r["claim"] in kept]
    damage(run, run.rows["claim"] == claim)
    run.cells = dict(tuple(run.rows.groupby(files.CELL, sort=False, observed=True)))
    wrong = {label: measured for label, measured in recompute.compared(run) if measured}
    assert wrong
    assert all(label.startswith(f"{claim} ") for label in wrong)
    assert any(expected in said for measured in wrong.values() for said in measured)
