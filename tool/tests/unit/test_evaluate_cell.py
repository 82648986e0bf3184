"""A claim is decided by a plain function call: no session, no pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refutable.measurement import harness
from refutable.measurement.harness import open_harness
from refutable.measurement.needs import Need
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

SCRIPT = """
from refutable.evaluation.cell import evaluate_cell
from refutable.measurement import harness
from refutable.measurement.harness import open_harness
from refutable.spec.cell import cells_of
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures
prompts = PromptLibrary([fixtures()])
harness = open_harness(prompts)
for name in ("gain.rmsnorm-expands", "gain.layernorm-dampens"):
    claim = find_claim(name)
    cell, *_ = cells_of(claim, ["tiny-rmsnorm"], prompts="five-registers")
    outcome = evaluate_cell(claim, cell, harness, prompts)
    found = outcome.evaluation
    print(found.judgement.decision.verdict if found else outcome.reason)
    print(found.judgement.estimate.value if found else "")
import sys
assert "pytest" not in sys.modules and "_pytest" not in sys.modules
"""


def test_a_script_decides_a_claim_without_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "REFUTABLE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict, value, reason, *_ = done.stdout.splitlines()
    assert verdict in ("confirmed", "refuted", "inconclusive")
    # Made independently: the same observable, recorded by the engine and averaged by hand.
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    by_hand = open_harness(PromptLibrary([fixtures()]))
    need = Need(find_claim("gain.rmsnorm-expands"), "tiny-rmsnorm", "five-registers", "no-bos")
    by_hand.plan([need])
    norms = by_hand.subject(need).observations["residual_norm"]
    gain = np.log(norms.isel(layer=-1).values / norms.isel(layer=-2).values)
    families = norms["family"].values
    means = [gain[families == name].mean() for name in np.unique(families)]
    assert abs(float(value) - float(np.mean(means))) < 1e-6
    # A claim about LayerNorm models does not speak about this one, and that is no verdict.
    assert "RMSNorm" in reason or "LayerNorm" in reason


def test_a_model_whose_arrays_fill_memory_is_dropped_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    made = open_harness(PromptLibrary([fixtures()]))
    need = Need(find_claim("gain.rmsnorm-expands"), "tiny-rmsnorm", "five-registers", "no-bos")
    made.plan([need])
    first = made.subject(need).observations["residual_norm"]
    # With room for all models it stays: claims over seeds come back to it.
    made.forget("tiny-rmsnorm")
    assert made.arrays("tiny-rmsnorm")
    monkeypatch.setattr(harness, "_KEPT_BYTES", 0)
    made.forget("tiny-rmsnorm")
    assert made.arrays("tiny-rmsnorm") == {}
    again = made.subject(need).observations["residual_norm"]
    assert again is not first
    assert again.equals(first)
