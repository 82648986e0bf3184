"""No sentence is read back: predictions worded otherwise change nothing but the sentence shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from golden import sample_run
from support.releases import FAMILIES, KINDS, SIZE, evidence, jitter, observations

from refutable.evidence.observations import COLUMNS
from refutable.gate.policy import Policy
from refutable.gate.runs import Run, compare_runs
from refutable.gate.wording import render
from refutable.predictions.base import KINDS as WORDS
from refutable.predictions.recorded import prediction_of
from refutable.report import html, markdown

NEW = "what is foretold of this, in words of another day"


@pytest.fixture
def reworded(monkeypatch):
    """Every prediction word says the same sentence, in which no kind and no number is left."""
    for word in WORDS.values():
        monkeypatch.setattr(word, "statement", property(lambda _: NEW))
        monkeypatch.setattr(word, "what", NEW)


def gates():
    """What the gate says of each kind of claim where all moved, and where none did."""
    moved = {name: 0.4 + jitter(3, 0.02, FAMILIES * SIZE) for name in KINDS if name[0] == "g"}
    moved["gain.trend"] = lambda block, _: 0.1 * block
    made = evidence()
    before, after = observations(), observations(shifts=moved)
    return [
        render(compare_runs(Run(made, rows, {}), Run(evidence(), later, {}), Policy()), form)
        for rows, later in ((before, before), (before, after), (None, None))
        for form in ("text", "markdown", "json", "github")
    ]


def test_the_gate_says_the_same_of_predictions_worded_otherwise(reworded, monkeypatch):
    assert {claim.predicted for claim in evidence().claims} == {NEW}
    said = gates()
    monkeypatch.undo()
    assert NEW not in {claim.predicted for claim in evidence().claims}
    assert said == gates()


def test_a_report_changes_in_the_sentence_alone():
    frame = sample_run.observations().reindex(columns=list(COLUMNS))
    before = sample_run.evidence(frame)
    claims = tuple(replace(c, predicted=f"{NEW} {i}") for i, c in enumerate(before.claims))
    after = replace(before, claims=claims)
    shown = html.render(after, frame)
    for old, new in zip(before.claims, claims, strict=True):
        assert new.predicted in shown
        shown = shown.replace(new.predicted, old.predicted)
    assert shown == html.render(before, frame)
    assert markdown.render(after) == markdown.render(before)


def test_every_word_of_the_vocabulary_is_recorded_whole(reworded):
    for prediction in KINDS.values():
        assert prediction_of(prediction.record()) == prediction
