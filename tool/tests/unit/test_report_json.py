"""evidence.json and observations.parquet: written and read back; what is broken is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from refutable.errors import EvidenceError
from refutable.evidence.json import read, write
from refutable.evidence.observations import (
    COLUMNS,
    read_observations,
    write_csv,
    write_observations,
)
from refutable.predictions import mean
from refutable.records import (
    ClaimReport,
    Counterexample,
    Environment,
    Estimate,
    Evidence,
    ModelFacts,
    ModelReport,
    Outcome,
    Region,
    Replication,
    Result,
    Verdict,
)


def small() -> Evidence:
    facts = ModelFacts(
        "m",
        "GPT2",
        "LayerNorm",
        2,
        2,
        8,
        10,
        16,
        100,
        True,
        "learned",
        True,
        None,
        True,
        ("a", "b"),
    )
    claim = ClaimReport(
        "gain.a",
        "s",
        "G1",
        "observational",
        "says",
        "refuted if",
        "q",
        "mean over families below 0",
        mean.below(0.0).record(),
    )
    result = Result(
        "gain.a",
        "s",
        "G1",
        "observational",
        "m",
        "p",
        "no-bos",
        Outcome.PASSED,
        Verdict.REFUTED,
        expected=Verdict.CONFIRMED,
        estimate=Estimate(0.5, 0.25, 0.75, unit="log ratio", n=3, clusters=2),
        replication=Replication("t-test", Estimate(1.5, 1.0, 2.0), Region(1.0), "held", {"m": 0.8}),
        counterexample=Counterexample("‮evil <b>", 0.25, "f"),
        families_needed=(3, 40),
    )
    return Evidence(
        Environment("3.11", "linux", {"torch": "2"}, "cpu", "float32"),
        (claim,),
        (ModelReport("m", "local", "d", "t", facts),),
        (),
        (result,),
    )


def test_round_trip_keeps_every_record(tmp_path):
    write(small(), tmp_path / "deep" / "evidence.json")
    assert read(tmp_path / "deep" / "evidence.json") == small()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["evidence.json"]


def test_enumerations_come_back_as_enumerations(tmp_path):
    write(small(), tmp_path / "e.json")
    result = read(tmp_path / "e.json").results[0]
    assert result.verdict is Verdict.REFUTED
    assert result.outcome is Outcome.PASSED


def test_non_finite_numbers_are_written_as_null(tmp_path):
    odd = replace(
        small(),
        results=(
            replace(
                small().results[0],
                estimate=Estimate(math.nan, -math.inf, np.float64(np.inf), n=3),  # type: ignore[arg-type]
            ),
        ),
    )
    write(odd, tmp_path / "e.json")
    text = (tmp_path / "e.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read(tmp_path / "e.json").results[0].estimate == Estimate(None, None, None, n=3)


def test_a_number_that_must_be_finite_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "e.json"
    write(small(), path)
    bad = replace(small().results[0], counterexample=Counterexample("x", math.nan))
    with pytest.raises(EvidenceError, match=r"results\.0\.counterexample\.value"):
        write(replace(small(), results=(bad,)), path)
    assert read(path) == small()


def test_lone_surrogates_become_text(tmp_path):
    odd = replace(small(), notes=("a\ud800b",))
    write(odd, tmp_path / "e.json")
    assert read(tmp_path / "e.json").notes == ("a\\ud800b",)


def test_truncated_file_is_one_line(tmp_path):
    path = tmp_path / "e.json"
    write(small(), path)
    whole = path.read_bytes()
    for keep in (0, 1, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:keep])
        with pytest.raises(EvidenceError, match="truncated") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"schema": "refutable.evidence/3"}, "has schema 'refutable.evidence/3'"),
        (lambda c: {k: v for k, v in c.items() if k != "schema"}, "has schema none"),
        (lambda c: {k: v for k, v in c.items() if k != "results"}, "is malformed: results"),
        (lambda c: [c], "has schema none"),
        (
            lambda c: c | {"results": [c["results"][0] | {"verdict": "proved"}]},
            r"is malformed: results\.0\.verdict",
        ),
        (
            lambda c: c | {"results": [c["results"][0] | {"seconds": "12"}]},
            r"is malformed: results\.0\.seconds",
        ),
    ],
)
def test_other_schema_and_wrong_fields_are_one_line(tmp_path, change, message):
    path = tmp_path / "e.json"
    write(small(), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(EvidenceError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_unknown_fields_of_a_later_version_are_ignored(tmp_path):
    path = tmp_path / "e.json"
    write(small(), path)
    content = json.loads(path.read_text())
    content["results"][0]["mood"] = "good"
    content["extra"] = {"a": [1]}
    path.write_text(json.dumps(content))
    assert read(path) == small()


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(EvidenceError, match="no evidence at"):
        read(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvidenceError, match="not UTF-8 text"):
        read(tmp_path / "b.json")
    with pytest.raises(EvidenceError, match=r"is a folder: name the evidence\.json in it"):
        read(tmp_path)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "quantity": ["residual_norm", "value", "value"],
            "model": ["m", "m", 'a,"b'],
            "control": [None, None, "untrained-3"],
            "text": ["x", "two\nlines, <b>", None],
            "layer": [7, None, None],
            "value": [0.1, -2.5, np.inf],
        }
    )


def test_observations_round_trip(tmp_path):
    write_observations(frame(), tmp_path / "o.parquet")
    back = read_observations(tmp_path / "o.parquet")
    assert tuple(back.columns) == COLUMNS
    assert back["layer"].tolist()[0] == 7
    assert back["layer"].isna().tolist() == [False, True, True]
    assert back["value"].tolist()[:2] == [0.1, -2.5]
    assert math.isnan(back["value"].iloc[2])
    assert back["model"].tolist() == ["m", "m", 'a,"b']
    assert back["control"].isna().tolist() == [True, True, False]
    assert back["family"].isna().all()


def test_a_file_from_before_a_column_existed_is_read(tmp_path):
    write_observations(frame(), tmp_path / "o.parquet")
    pd.read_parquet(tmp_path / "o.parquet").drop(columns="at").to_parquet(tmp_path / "old.parquet")
    back = read_observations(tmp_path / "old.parquet")
    assert tuple(back.columns) == COLUMNS
    assert back["at"].isna().all()
    assert back["value"].tolist()[:2] == [0.1, -2.5]


def test_csv_holds_what_claims_returned_on_the_models(tmp_path):
    claimed = frame().assign(claim=["a.x", "a.x", "a.x"])
    raw = frame().assign(claim=None, value=99.0)
    write_observations(pd.concat([claimed, raw]), tmp_path / "o.parquet")
    write_csv(tmp_path / "o.parquet", tmp_path / "o.csv")
    back = pd.read_csv(tmp_path / "o.csv")
    assert list(back.columns) == [name for name in COLUMNS if name != "text"]
    # The third row of the frame is that of a null control.
    assert back["value"].tolist() == [0.1, -2.5]
    assert back["layer"].tolist()[0] == 7


def test_broken_observations_are_refused(tmp_path):
    with pytest.raises(EvidenceError, match="unknown columns mood"):
        write_observations(frame().assign(mood=1), tmp_path / "o.parquet")
    with pytest.raises(EvidenceError, match="lack the columns value"):
        write_observations(frame().drop(columns="value"), tmp_path / "o.parquet")
    with pytest.raises(EvidenceError, match="do not fit"):
        write_observations(frame().assign(layer=[0.5, 1, 2]), tmp_path / "o.parquet")
    with pytest.raises(EvidenceError, match="no observations at"):
        read_observations(tmp_path / "o.parquet")
    (tmp_path / "o.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(EvidenceError, match="as Parquet"):
        read_observations(tmp_path / "o.parquet")
    frame()[["value"]].to_parquet(tmp_path / "o.parquet")
    with pytest.raises(EvidenceError, match="lacks the columns claim"):
        read_observations(tmp_path / "o.parquet")
