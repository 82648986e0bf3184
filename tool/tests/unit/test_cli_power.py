"""`refutable power`: differences that can be decided, in sd and in the claim's own unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.releases import evidence
from typer.testing import CliRunner

from refutable.cli.app import app
from refutable.cli.power import earlier_estimate, units_of
from refutable.evidence.json import write
from refutable.stats import power
from refutable.studies.catalogue import find_claim


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["power", *words], env={"COLUMNS": "160"})
    return result.output


def test_families_and_seeds_of_a_claim() -> None:
    assert units_of(find_claim("gain.layernorm-dampens")) == {"prompt families": 44}
    both = units_of(find_claim("ablation.diffuse-attention"))
    assert both == {"training seeds": 8, "prompt families": 44}
    assert units_of(find_claim("gain.layernorm-dampens"), "five-registers")["prompt families"] == 5


def test_it_says_what_the_rule_decides(tmp_path: Path) -> None:
    text = said("ablation.diffuse-attention", "--evidence", str(tmp_path / "none.json"))
    for count in (8, 44):
        assert f"{power.detectable_effect(count):.2f}" in text
        assert f"{power.detectable_margin(count):.2f} sd" in text


def test_an_earlier_run_gives_the_spread(tmp_path: Path) -> None:
    made = evidence(("gain.mean",))
    estimate = replace(made.results[0].estimate, sd=0.05, unit="log ratio")
    result = replace(made.results[0], claim="gain.layernorm-dampens", estimate=estimate)
    made = replace(made, results=(result,))
    write(made, tmp_path / "evidence.json")
    model = made.results[0].model
    measured = earlier_estimate("gain.layernorm-dampens", model, tmp_path / "evidence.json")
    assert measured is not None
    assert measured.sd == 0.05
    assert earlier_estimate("gain.layernorm-dampens", "other", tmp_path / "evidence.json") is None
    text = said("gain.layernorm-dampens", "--evidence", str(tmp_path / "evidence.json"))
    assert f"{0.05 * power.detectable_effect(44):.3g}" in text


@pytest.mark.parametrize(
    ("claim", "problem"), [("gain.nothing", "unknown claim"), ("gain.fixed-sign", "no power")]
)
def test_what_has_no_power_is_refused(claim: str, problem: str) -> None:
    if problem == "no power":
        from refutable.studies.catalogue import bundled_claims

        claim = next(c.id for c in bundled_claims() if not c.predicts.sampled)
    result = CliRunner().invoke(app, ["power", claim])
    assert result.exit_code == 2
    assert problem in result.output


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("literature.massive-entries", "44 prompt families, each of one mind share 0.65"),
        ("gain.register-orders-gain", "groups of 6, 6, 6, 6, 6 families 3.47"),
        ("gain.layernorm-training-dampens", "1 model beside 19 copies 4.99"),
        ("gain.rmsnorm-training-expands-over-seeds", "8 models beside 19 copies 1.78"),
    ],
)
def test_what_is_no_t_interval_has_its_own_rule(claim: str, words: str, tmp_path: Path) -> None:
    text = " ".join(said(claim, "--evidence", str(tmp_path / "none.json")).split())
    assert words in text
