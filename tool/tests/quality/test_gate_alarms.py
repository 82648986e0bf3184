"""How often the gate alarms on one release, and whether it sees a planted shift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from refutable.evidence.observations import COLUMNS
from refutable.gate.compare import gate
from refutable.predictions import mean
from refutable.records import (
    ClaimReport,
    Environment,
    Estimate,
    Evidence,
    Outcome,
    PromptSetReport,
    Result,
    Verdict,
)
from refutable.stats.build import T_FAMILIES

CLAIMS = tuple(f"gain.claim{i}" for i in range(3))
FAMILIES = 30
RUNS = 200
MOST_ALARMS = RUNS // 20
"""At most 5 %."""


def _evidence(values: np.ndarray, margin: float) -> Evidence:
    """One claim for each row of family means (claim, family)."""
    prediction = mean.above(0.0)
    results, reports = [], []
    for name, units in zip(CLAIMS, values, strict=True):
        estimate = Estimate(
            float(units.mean()), None, None, method=T_FAMILIES, n=units.size, clusters=units.size,
            sd=float(units.std(ddof=1)), p=0.5,
        )  # fmt: skip
        results.append(
            Result(
                name, "s", "r", "observational", "m", "set", "no-bos", Outcome.PASSED,
                Verdict.INCONCLUSIVE, estimate=estimate, models=("m",),
            )
        )  # fmt: skip
        reports.append(
            ClaimReport(
                name, "s", "r", "observational", "says", "if", "q", prediction.statement,
                prediction.record(), margin=margin,
            )
        )  # fmt: skip
    return Evidence(
        Environment("3.11", "linux", {}, "cpu", "float32"), tuple(reports), (),
        (PromptSetReport("set", "hash", FAMILIES, FAMILIES),), tuple(results),
    )  # fmt: skip


def _frame() -> pd.DataFrame:
    names = [f"f{i}" for i in range(FAMILIES)]
    frame = pd.DataFrame(
        {
            "claim": np.repeat(CLAIMS, FAMILIES), "quantity": "value", "model": "m",
            "prompts": "set", "arm": "no-bos", "family": names * len(CLAIMS),
            "prompt": [f"{name}/0" for name in names] * len(CLAIMS), "value": 0.0,
        }
    )  # fmt: skip
    kinds = dict.fromkeys(("layer", "head"), "Int64")
    return frame.reindex(columns=list(COLUMNS)).astype(
        kinds | {c: "string" for c in COLUMNS if c not in (*kinds, "value")}
    )


FRAME = _frame()


def _rows(values: np.ndarray) -> pd.DataFrame:
    return FRAME.assign(value=values.ravel())


def _release(rng: np.random.Generator) -> np.ndarray:
    """Families of one release: 200 differ by sd 1 around .3, claims correlated .5."""
    shared = rng.standard_normal((1, 200))
    return 0.3 + np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.standard_normal((len(CLAIMS), 200))


@pytest.mark.slow
def test_resampled_families_of_one_release_rarely_alarm():
    """Two runs see the same 30 resampled families through rounding that cancels on average."""
    rng = np.random.default_rng(1)
    release = _release(rng)
    rounding = 0.1 * rng.standard_normal(release.shape)
    rounding -= rounding.mean(axis=1, keepdims=True)  # truly no change
    alarms = 0
    for _ in range(RUNS):
        drawn = rng.integers(0, 200, FAMILIES)
        before, after = release[:, drawn], (release + rounding)[:, drawn]
        files = _evidence(before, margin=0.0), _evidence(after, margin=0.0)
        alarms += gate(*files, _rows(before), _rows(after)).exit_code
    assert alarms <= MOST_ALARMS


def test_unpaired_resamples_of_one_release_rarely_alarm():
    rng = np.random.default_rng(2)
    release = _release(rng)
    alarms = 0
    for _ in range(RUNS):
        before, after = (release[:, rng.integers(0, 200, FAMILIES)] for _ in range(2))
        alarms += gate(_evidence(before, 0.0), _evidence(after, 0.0), None, None).exit_code
    assert alarms <= MOST_ALARMS


def test_half_a_sd_is_always_seen_where_a_change_of_verdict_seldom_tells():
    """Paired families see a shift of half a sd of a family mean; estimates alone do not."""
    rng = np.random.default_rng(3)
    release = _release(rng)
    seen = blind = 0
    for _ in range(20):
        drawn = rng.integers(0, 200, FAMILIES)
        before = release[:, drawn]
        after = before + 0.5 + 0.1 * rng.standard_normal(before.shape)
        files = _evidence(before, 0.02), _evidence(after, 0.02)
        seen += gate(*files, _rows(before), _rows(after)).exit_code
        blind += gate(*files, None, None).exit_code
    assert seen == 20
    assert blind < 20
