"""Models whose truth is known exactly, from the command line to the evidence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.projects import claim_source, evidence, module, verdicts

PLANTED = module(
    claim_source("grows"),
    claim_source("shrinks", predicts="mean.below(0.0)"),
    claim_source("always_shrinks", predicts="every.below(0.0)"),
    claim_source(
        "layernorm_shrinks",
        predicts="mean.below(0.0)",
        more='models=normalized_by("LayerNorm"),',
    ),
)


@pytest.mark.filterwarnings("default")
def test_planted_last_blocks_get_the_verdicts_they_deserve(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=PLANTED)
    names = ("silent", "halves", "doubles")
    result = project.runpytest_inprocess(*(f"--claim-model={models / name}" for name in names))
    result.assert_outcomes(passed=4 + 2 + 1, failed=1 + 2, skipped=2)
    assert verdicts(project) == {
        # A gain of exactly 0 lies on the boundary: no interval decides it.
        ("gain.grows", "silent"): "inconclusive",
        ("gain.shrinks", "silent"): "inconclusive",
        ("gain.always-shrinks", "silent"): "inconclusive",
        ("gain.layernorm-shrinks", "silent"): "inconclusive",
        ("gain.grows", "halves"): "refuted",
        ("gain.shrinks", "halves"): "confirmed",
        # No search, no counterexample: a universal claim is never confirmed by 30 prompts.
        ("gain.always-shrinks", "halves"): "inconclusive",
        ("gain.layernorm-shrinks", "halves"): None,
        ("gain.grows", "doubles"): "confirmed",
        ("gain.shrinks", "doubles"): "refuted",
        ("gain.always-shrinks", "doubles"): "refuted",
        # It has a final LayerNorm, but none in its blocks.
        ("gain.layernorm-shrinks", "doubles"): None,
    }
    content = evidence(project)
    results = {(r["claim"], r["model"]): r for r in content["results"]}
    for model, log_gain in (("silent", 0.0), ("halves", -math.log(2)), ("doubles", math.log(2))):
        estimate = results["gain.grows", model]["estimate"]
        assert estimate["value"] == pytest.approx(log_gain, abs=2e-6)
        # Values that agree are no fact: the interval holds what ten families can hide.
        assert estimate["low"] < log_gain < estimate["high"]
        assert 1e-6 < estimate["high"] - estimate["low"] < 0.7
        assert (estimate["n"], estimate["clusters"]) == (30, 10)
    counterexample = results["gain.always-shrinks", "doubles"]["counterexample"]
    assert counterexample["origin"] == "observed"
    assert counterexample["value"] == pytest.approx(math.log(2), abs=2e-6)

    kinds = {m["id"]: m["facts"]["norm_kind"] for m in content["models"]}
    assert kinds == {"silent": "LayerNorm", "halves": "none", "doubles": "none"}
    skipped = results["gain.layernorm-shrinks", "halves"]
    assert skipped["outcome"] == "skipped"
    assert skipped["reason"] == "the claim is about LayerNorm, halves is normalized by none"
    result.stdout.fnmatch_lines(["12 cells *, 2 n/a"])
