"""An observable that a model does not have costs the claims that ask for it, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, counting, evidence, loads, module

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")

REASON = "was not trained by the no-position study"
CLAIMS = module(
    claim_source("grows"),
    # One of the experiments that only models of the no-position study have.
    claim_source("recalls", observable="position_table_norm", body="return position_table_norm"),
    claim_source(
        "recalls_too", predicts="mean.below(9.0)", observable="held_out_recall_loss",
        body="return held_out_recall_loss",
    ),
)  # fmt: skip


def test_only_the_claims_that_ask_for_it_do_not_apply(
    project: pytest.Pytester, models: Path
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=CLAIMS)
    model = f"--claim-model={models / 'little'}"

    live = project.runpytest_inprocess(model, "-rs")
    live.assert_outcomes(passed=1, skipped=2)
    live.stdout.fnmatch_lines([f"*held_out_recall_loss of little: *{REASON}*"])
    outcomes = {r["claim"]: (r["outcome"], r["reason"]) for r in evidence(project)["results"]}
    assert outcomes["gain.grows"][0] == "passed"
    assert outcomes["gain.recalls"][0] == outcomes["gain.recalls-too"][0] == "skipped"
    assert REASON in outcomes["gain.recalls-too"][1]

    # The reason is remembered like a measured value: nothing is loaded again.
    project.runpytest_inprocess(model).assert_outcomes(passed=1, skipped=2)
    assert loads(log) == ["little"]
