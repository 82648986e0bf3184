"""Untrained copies of weights follow from the config: two models of one config draw them once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from support.projects import claim_source, module

pytestmark = pytest.mark.filterwarnings("default")

CLAIMS = "from refutable import equals\n" + module(
    claim_source(
        "copies",
        predicts="equals(0.0, tolerance=9.0)",
        observable="weight_views, untrained_weight_views",
        body="return untrained_weight_views.sel(view='ks_normal').mean() + 0 * weight_views[0]",
    )
)


def test_the_second_model_draws_nothing(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refutable.models.weights.fresh import FreshTensors

    drawn: list[str] = []
    draw = FreshTensors._draw

    def noted(self: FreshTensors, unit: str) -> object:
        drawn.append(unit)
        return draw(self, unit)

    monkeypatch.setattr(FreshTensors, "_draw", noted)
    project.makepyfile(test_mine=CLAIMS)
    project.runpytest_inprocess(f"--claim-model={models / 'little'}").assert_outcomes(passed=1)
    first = len(drawn)
    assert first >= 19
    project.runpytest_inprocess(f"--claim-model={models / 'other'}").assert_outcomes(passed=1)
    assert len(drawn) == first

    values: dict[str, list[bytes]] = {}
    for path in (project.path / "cache" / "observations").rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            key = json.loads(file.metadata()["refutable"])["key"]
            values.setdefault(key["observable"], []).append(file.get_tensor("values").tobytes())
    # One for the config and one for each model, all alike; the models themselves differ.
    assert len(values["untrained_weight_views"]) == 3
    assert len(set(values["untrained_weight_views"])) == 1
    assert len(set(values["weight_views"])) == 2
