"""Evidence of schema 1, which holds predictions as sentences, is read, reported and compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from refutable.evidence.earlier import SCHEMA_1, converted
from refutable.evidence.json import read, write
from refutable.gate.runs import run_gate
from refutable.predictions import (
    Likeness,
    contrast,
    correlation,
    cross_similarity,
    each_seed,
    equals,
    every,
    fact,
    mean,
    ordered,
    over_seeds,
    share,
    trend,
)
from refutable.predictions.recorded import prediction_of
from refutable.records import SCHEMA, PredictionRecord
from refutable.report import html, markdown

OLD = Path(__file__).parents[1] / "golden" / "evidence-schema-1.json"
"""A gallery as a version of schema 1 wrote it, with one claim of each kind that it held."""

LIKE = Likeness(lambda values, left_out: values, lambda values: 1)

WORDED = [
    ("mean over families below -0.02", mean.below(-0.02)),
    ("mean over families between 2.708 and 3.219", mean.within(2.70805, 3.21888)),
    ("mean over families of model minus control above 0.02", mean.above(0.02).against_control()),
    ("mean over families of none minus layernorm-both above 0.09531",
     contrast("none", "layernorm-both").above(0.0953102)),
    ("mean over families of a minus b (seeds 0, 3 left out) above 1",
     contrast("a", "b", exclude_seeds=(0, 3)).above(1.0)),
    ("mean over the training seeds of no-position above 0.5", over_seeds("no-position").above(0.5)),
    ("mean over the training seeds of twins (seed 0 left out) below -2",
     over_seeds("twins", exclude_seeds=(0,)).below(-2)),
    ("value of each training seed of no-position below 0.008",
     each_seed("no-position").below(0.008)),
    ("value of each training seed of no-position equal to 1 to within 0.25",
     each_seed("no-position").equals(1, tolerance=0.25)),
    ("value of each training seed of no-position equal to 0 exactly",
     each_seed("no-position").equals(0)),
    ("mean likeness of a none and a both of different seeds, minus that of two both, below -0.05",
     cross_similarity("none", "both", kernel=LIKE).below(-0.05)),
    ("share of prompts, families equally weighted, above 0.5", share.above(0.5)),
    ("share of prompts, families equally weighted, with a value above 0.1 below 0.5",
     share.below(0.5, over=0.1)),
    ("correlation, between and within families each, below -0.2", correlation.below(-0.2)),
    ("mean slope per block, with and without the first and the last block, below 0",
     trend().below(0)),
    ("means ordered over models, both < ffn < none, each step above 0.02",
     ordered("both", "ffn", "none", over="models", by=0.02)),
    ("means ordered over models (seed 1 left out), a < b, each step above 0",
     ordered("a", "b", over="models", exclude_seeds=(1,))),
    ("means ordered over register, factual < cliche/novel, each step above 0.1",
     ordered("factual", ("cliche", "novel"), by=0.1)),
    ("every value above 0", every.above(0)),
    ("value equal to 1.63037e+08 exactly", equals(163037184.0)),
    ("value equal to 2 to within 0.5", equals(2.0, tolerance=0.5)),
    ("value below 0.051", fact.below(0.051)),
]  # fmt: skip


def old_claim(sentence, region):
    claim = json.loads(OLD.read_text())["claims"][0]
    return claim | {"statistic": sentence, "region": {"low": region.low, "high": region.high}}


def recorded(claim):
    return PredictionRecord(
        claim["prediction"]["kind"],
        {name: _tuples(value) for name, value in claim["prediction"]["parameters"].items()},
    )


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


@pytest.mark.parametrize(("sentence", "prediction"), WORDED, ids=[s for s, _ in WORDED])
def test_every_wording_of_schema_1_is_the_prediction_it_was_written_for(sentence, prediction):
    content = {"schema": SCHEMA_1, "claims": [old_claim(sentence, prediction.region)]}
    measured = converted(content)["claims"][0]
    assert measured["predicted"] == sentence
    plain = replace(prediction, kernel=None) if hasattr(prediction, "kernel") else prediction
    assert prediction_of(recorded(measured)) == plain


def test_a_wording_of_no_known_form_is_kept_as_a_sentence():
    content = {"claims": [old_claim("median of medians above 1", mean.above(1).region)]}
    measured = converted(content)["claims"][0]
    assert measured["prediction"] == {"kind": "", "parameters": {"low": 1.0, "high": None}}
    assert prediction_of(recorded(measured)) is None


def test_a_file_of_schema_1_is_read_reported_and_written_anew(tmp_path):
    old = json.loads(OLD.read_text())
    assert old["schema"] == SCHEMA_1
    evidence = read(OLD)
    assert evidence.schema == SCHEMA
    for before, now in zip(old["claims"], evidence.claims, strict=True):
        assert now.predicted == before["statistic"]
        assert (now.region.low, now.region.high) == tuple(before["region"].values())
        assert now.prediction.kind
    for text in (markdown.render(evidence), html.render(evidence, None)):
        assert all(claim.id in text for claim in evidence.claims)
    write(evidence, tmp_path / "e.json")
    assert read(tmp_path / "e.json") == evidence


def test_releases_of_either_schema_are_compared(tmp_path):
    write(read(OLD), tmp_path / "new" / "evidence.json")
    both = [OLD, tmp_path / "new" / "evidence.json"]
    texts = {run_gate(base, candidate, format="json") for base in both for candidate in both}
    assert len(texts) == 1
    assert next(iter(texts))[1] == 0


def test_a_malformed_file_of_schema_1_is_one_line(tmp_path):
    from refutable.errors import EvidenceError

    old = json.loads(OLD.read_text())
    for broken in ({"claims": 3}, {"claims": [7]}, {"claims": [{"statistic": "x"}]}):
        (tmp_path / "e.json").write_text(json.dumps(old | broken))
        with pytest.raises(EvidenceError, match="is malformed: claims") as caught:
            read(tmp_path / "e.json")
        assert "\n" not in str(caught.value)
