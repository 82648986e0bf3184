"""Models whose names differ only in what node ids cannot hold stay apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.projects import claim_source, evidence, module

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("workers", [0, 2])
def test_models_of_one_slug_keep_their_own_results_and_rows(
    project: pytest.Pytester, models: Path, workers: int
) -> None:
    folder = project.path / "weights"
    shutil.copytree(models / "little", folder / "one model")
    shutil.copytree(models / "other", folder / "one-model")
    project.makepyfile(test_mine=module(claim_source("grows"), claim_source("shrinks")))
    words = [f"--claim-model={folder / name}" for name in ("one model", "one-model")]
    more = [f"-n{workers}"] if workers else []
    project.runpytest_inprocess(*words, *more).assert_outcomes(passed=4)
    results = {(r["claim"], r["model"]): r["estimate"] for r in evidence(project)["results"]}
    assert len(results) == 4
    rows = pd.read_parquet(project.path / "reports" / "latest" / "observations.parquet")
    for (claim, model), estimate in results.items():
        of_cell = rows[(rows["claim"] == claim) & (rows["model"] == model)]
        assert len(of_cell) == 30
        # Families are of one size here.
        assert of_cell["value"].mean() == pytest.approx(estimate["value"], abs=1e-6)
    assert results["gain.grows", "one model"] != results["gain.grows", "one-model"]
