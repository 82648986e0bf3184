"""Runs that are committed were decided by the rules of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from refutable.stats import core

ROOT = Path(__file__).parents[3]
BY_T = ("t on family means", "Welch t on family means", "t over training seeds")


@pytest.mark.parametrize("run", ["gallery", "smollm2-135m"])
def test_every_guard_is_as_wide_as_it_must_be(run: str) -> None:
    """Its nearer end is not bent by skew: the quantile, or the fewest standard errors, off."""
    evidence = json.loads((ROOT / "reports" / run / "evidence.json").read_text())
    seen = 0
    for result in evidence["results"]:
        control = result["control"] or {}
        sides = [control.get("estimate"), control.get("contrast")]
        for made in (result["estimate"], *result["parts"], *sides):
            if made is None or made["method"] not in BY_T or made["check_low"] is None:
                continue
            se = (made["high"] - made["value"] - made["error"]) / stats.t.isf(0.025, made["df"])
            tail = (1 - core.GUARD.level) / 2
            least = max(stats.t.isf(tail, made["df"]), core.GUARD.least) * se + made["error"]
            near = min(made["value"] - made["check_low"], made["check_high"] - made["value"])
            assert near >= least * (1 - 1e-6), (result["claim"], made["part"])
            seen += 1
    assert seen >= 10
