"""A claim on five models is summed up beside the list, and nothing is with four."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.projects import claim_source, evidence, module, write_gpt2

from refutable.evidence import json as evidence_json
from refutable.report import markdown
from refutable.stats.heterogeneity import random_effects

pytestmark = pytest.mark.filterwarnings("default")


def test_five_models_are_summed_up(project: pytest.Pytester) -> None:
    names = [f"little-{seed}" for seed in range(5)]
    for seed, name in enumerate(names):
        write_gpt2(project.path / name, seed=seed, scale=2.0 + seed / 2)
    project.makepyfile(test_mine=module(claim_source("grows")))
    run = [f"--claim-model={project.path / name}" for name in names]

    result = project.runpytest_inprocess(*run, "-v")
    (measured,) = evidence(project)["over_models"]
    estimates = [r["estimate"] for r in evidence(project)["results"]]
    errors = [
        (e["high"] - e["low"] - 2 * e["error"]) / 2 / stats.t.isf(0.025, e["clusters"] - 1)
        for e in estimates
    ]
    expected = random_effects([e["value"] for e in estimates], errors)
    assert measured["models"] == names
    for name in ("value", "low", "high", "predicted_low", "predicted_high", "tau", "i2"):
        assert measured[name] == pytest.approx(getattr(expected, name), rel=1e-6)
    assert measured["i2"] > 0.5
    assert np.ptp([e["value"] for e in estimates]) > 0
    result.stdout.fnmatch_lines(
        "gain.grows (mine, no-bos): mean over 5 models *one more such model within *"
        "(models were chosen, not drawn)"
    )
    read = evidence_json.read(Path(project.path) / "reports" / "latest" / "evidence.json")
    assert "mean over 5 models" in markdown.render(read)

    project.runpytest_inprocess(*run[:4], "-q", "--claim-out=four")
    assert evidence_json.read(project.path / "four" / "evidence.json").over_models == ()
