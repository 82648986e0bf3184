"""Each row of the norm ablation is read early, after 14 million tokens, and along its training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from refutable.evidence import baseline
from refutable.evidence import json as evidence_json
from refutable.records import Verdict
from refutable.stats.power import seeds_needed
from refutable.studies.catalogue import bundled_claims
from refutable.studies.norm_ablation.arms import TUNED

ROOT = Path(__file__).parents[3]
STUDY = (ROOT / "docs" / "studies" / "norm-ablation.md").read_text("utf-8")
ROWS = [*(f"N{i}" for i in range(1, 13)), "G8"]
EARLY_ALONE = {"N3"}
"""Partial norms, which were not trained on 14 million tokens."""
ALONG = {"contrast_along", "across_along"}
VERDICTS = {cell.claim: held.verdict for cell, held in baseline.load(
    ROOT / "reports" / "baseline.json"
).items()}  # fmt: skip


def arm(names: tuple[str, ...]) -> str:
    ends = {name.rpartition("-")[2] for name in names} & {"trained", "tuned"}
    return "early" if not ends else "tuned" if "tuned" in ends else "trained"


def claims(row: str, when: str, *, along: bool) -> list[str]:
    """Claims over training seeds about a row, of one arm, at a point or along the training."""
    return [
        claim.id
        for claim in bundled_claims()
        if claim.source.ref == row
        and claim.source.study in ("norm-ablation", "last-block-gain")
        and claim.predicts.grouped
        and arm(claim.predicts.names) == when
        and (claim.predicts.kind in ALONG) == along
    ]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_a_verdict_early_and_one_trained_and_a_path(row: str) -> None:
    early, trained = claims(row, "early", along=False), claims(row, "trained", along=False)
    path = claims(row, "trained", along=True) or claims(row, "tuned", along=True)
    assert any(VERDICTS.get(one) for one in early), early
    if row in EARLY_ALONE:
        assert (trained, path) == ([], [])
        return
    assert any(VERDICTS.get(one) for one in trained), trained
    assert path


def test_the_documented_table_has_every_row_once_or_more() -> None:
    begin = STUDY.index("| row | early |")
    table = STUDY[begin : STUDY.index("\n\n", begin)].splitlines()[2:]
    rows = [re.sub(r"\W.*", "", line.strip("| ")) for line in table]
    assert set(rows) == set(ROWS)
    assert rows == sorted(rows, key=ROWS.index)


def test_the_tuned_arm_is_held_against_the_best_rate_of_both() -> None:
    tuned = [c for c in bundled_claims() if c.predicts.grouped and c.predicts.names == TUNED]
    assert {c.source.ref for c in tuned} >= {"N1", "N4", "N5", "N6", "N8", "N10", "N11", "N12"}
    # Regions are those of the row on the other arms.
    by_id = {claim.id: claim for claim in bundled_claims()}
    assert all(c.predicts.region == by_id[c.id.removesuffix("-tuned")].predicts.region
               for c in tuned)  # fmt: skip


def test_the_seeds_that_open_rows_would_take_are_those_of_the_committed_run() -> None:
    by_id = {claim.id: claim for claim in bundled_claims()}
    evidence = evidence_json.read(ROOT / "reports" / "gallery" / "evidence.json")
    needed = {
        (result.claim, result.arm): seeds_needed(
            result.estimate, by_id[result.claim].predicts.region
        )
        for result in evidence.results
        if result.verdict is Verdict.INCONCLUSIVE
        and result.estimate is not None
        and by_id[result.claim].predicts.grouped
    }
    begin = STUDY.index("| row | quantity | asked | slope")
    lines = STUDY[begin : STUDY.index("\n\n", begin)].splitlines()[2:]
    said = [cell for line in lines if (cell := line.split("|")[-2].strip())]
    slopes = ["word-heads-grow-with-norms", "word-noise-difference-lasts",
              "character-noise-difference-fades", "rmsnorm-loss-stays-alike",
              "loss-without-norms-catches-up", "last-gain-differs-no-more"]  # fmt: skip
    numbers = [needed[f"ablation.{name}", "no-bos"] for name in slopes]
    assert said == ["no number" if number is None else str(number) for number in numbers]
    ends = {"rmsnorm-reaches-loss": "N12 {} and", "norms-lower-loss": "control {},",
            "sharper-without-norms": "N10 at equal steps {},",
            "variance-grows-without-norms": "variance {};"}  # fmt: skip
    for name, sentence in ends.items():
        assert sentence.format(needed[f"ablation.{name}-trained", "no-bos"]) in STUDY
    for arm_name in ("no-bos", "bos"):
        assert f"G8 {needed['gain.norm-kind-decides-trained', arm_name]} with" in STUDY
