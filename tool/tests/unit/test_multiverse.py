"""The specification curve: what is crossed, what a claim does not have, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import refutable
from refutable.cli.app import app
from refutable.cli.multiverse import caption, table, untested
from refutable.errors import RefutableError
from refutable.evaluation.multiverse import Multiverse, Specification, multiverse
from refutable.records import Estimate, Region, Verdict
from refutable.report.figures import style
from refutable.report.multiverse import draw_curve, write_curve
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import bundled_claims, find_claim
from refutable.system.paths import fixtures

LIBRARY = PromptLibrary([fixtures()])


def spread(name: str, model: str | None, prompts: str | None = None) -> Multiverse:
    claim: Claim = replace(find_claim(name), prompts=prompts)
    return multiverse(claim, model, list(bundled_claims()), LIBRARY)


@pytest.fixture(scope="module")
def measured() -> Multiverse:
    return spread("gain.rmsnorm-expands", "tiny-rmsnorm", "five-registers")


def test_what_could_have_been_chosen_is_crossed(measured: Multiverse) -> None:
    assert measured.dimensions["tokens"] == ("last token", "all tokens")
    assert measured.dimensions["arm"] == ("no-bos", "bos")
    assert set(measured.absent) == {"prompts", "model"}
    assert len({(s.arm, s.dtype, s.tokens) for s in measured.specifications}) == 8
    assert len(measured.specifications) == 8
    stated = measured.as_stated
    assert (stated.arm, stated.dtype, stated.tokens) == ("no-bos", "float32", "last token")
    values = {s.estimate.value for s in measured.tested if s.estimate is not None}
    assert len(values) == len(measured.tested) >= 4


def test_each_specification_is_what_the_claim_gives_so(measured: Multiverse) -> None:
    for spec in measured.tested[:2]:
        name = "gain.rmsnorm-expands" + ("-all-tokens" if spec.tokens == "all tokens" else "")
        alone = refutable.evaluate(name, "tiny-rmsnorm", prompts="five-registers", arm=spec.arm)
        assert alone.evaluation is not None
        assert spec.estimate == alone.evaluation.judgement.estimate
        assert spec.verdict is alone.evaluation.judgement.decision.verdict


def test_weights_are_read_without_prompts() -> None:
    made = spread("weights.attention-near-normal", "twin-none-0")
    assert {"arm", "prompts", "tokens"} <= set(made.absent)
    assert made.dimensions["prompts"] == ("battery",)
    # Weights of other training seeds are not shipped, and are told as such.
    assert {s.model for s in made.specifications if s.verdict is None} > {"twin-none-1"}


@pytest.mark.parametrize(
    ("name", "model"), [("gain.rmsnorm-expands", None), ("ablation.diffuse-attention", "tiny-gpt2")]
)
def test_a_model_is_named_where_one_is_needed(name: str, model: str | None) -> None:
    with pytest.raises(RefutableError, match="--model"):
        multiverse(find_claim(name), model, [], LIBRARY)


def planted() -> Multiverse:
    def spec(arm: str, model: str, value: float | None, verdict: Verdict | None) -> Specification:
        estimate = None if value is None else Estimate(value, value - 1, value + 1)
        return Specification(arm, "float32", "mine", "as stated", model, verdict, estimate, "why")

    specs = (
        spec("no-bos", "a", 3.0, Verdict.CONFIRMED), spec("bos", "a", 0.5, Verdict.INCONCLUSIVE),
        spec("no-bos", "b", 4.0, Verdict.CONFIRMED), spec("bos", "b", None, None),
    )  # fmt: skip
    dimensions = {"arm": ("no-bos", "bos"), "dtype": ("float32",), "model": ("a", "b")}
    return Multiverse("x.y", "says", "above 1", Region(1.0, None), "", dimensions, {}, specs)


def test_agreement_counts_those_that_gave_a_verdict(tmp_path: Path) -> None:
    made = planted()
    assert made.agreement() == (2, 3)
    assert "2 of 3 specifications (67%) are confirmed" in caption(made)
    assert untested(made) == ["b: 1 not tested: why"]
    shown = table(made)
    assert list(shown.columns[0].cells) == ["arm: no-bos", "arm: bos", "model: a", "model: b"]
    assert list(shown.columns[1].cells) == ["2 of 2", "0 of 1", "1 of 2", "1 of 1"]
    with style.styled():
        figure = draw_curve(
            made.tested, made.as_stated, made.dimensions, region=made.region, unit="nats"
        )  # fmt: skip
        record, picture = write_curve({"value": float("nan"), "n": (1, 2)}, figure, tmp_path)
    assert json.loads(record.read_text()) == {
        "schema": "refutable.multiverse/1", "value": None, "n": [1, 2]
    }  # fmt: skip
    assert picture.stat().st_size > 5000
    top, bottom = figure.axes
    assert [label.get_text() for label in bottom.get_yticklabels()] == [
        "model: b", "model: a", "arm: bos", "arm: no-bos"
    ]  # fmt: skip
    # In the order of the estimates.
    assert [c.lines[0].get_ydata()[0] for c in top.containers] == [0.5, 3.0, 4.0]


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["multiverse", "gain.nothing", "--out", out])
    assert result.exit_code == 2
    assert "unknown claim" in result.output
