"""An empty cache of models, and built reports that tests read and never change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from golden import sample_run
from support.pages import save

from refutable.records import Counterexample
from refutable.report import build

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> ‮desrever‬ \x07 `|` $x$ {{ 7*7 }}'
TOKEN = "Q" * 10_240


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of models that holds nothing yet."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REFUTABLE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def sample_frame():
    return sample_run.observations(families=2, each=3)


@pytest.fixture(scope="session")
def sample_report(tmp_path_factory, sample_frame):
    """A built report."""
    folder = tmp_path_factory.mktemp("run")
    build(save(folder, sample_run.evidence(sample_frame), sample_frame))
    return folder


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory, sample_frame):
    """A built report of a run whose model name, prompts and reasons attack the page."""
    folder = tmp_path_factory.mktemp("hostile")
    evidence = sample_run.evidence(sample_frame)

    def rename(name):
        return EVIL if name == "gpt2-medium" else name

    results = tuple(
        replace(
            r,
            model=rename(r.model),
            models=tuple(map(rename, r.models)),
            reason=EVIL,
            command=f"refutable verify --model '{EVIL}'",
            counterexample=r.counterexample and Counterexample(EVIL + TOKEN, -1.0, EVIL),
        )
        for r in evidence.results
    )
    models = tuple(
        replace(m, id=rename(m.id), facts=m.facts and replace(m.facts, id=rename(m.id)))
        for m in evidence.models
    )
    claims = (replace(evidence.claims[0], statement=EVIL, refuted_if=TOKEN), *evidence.claims[1:])
    evil = sample_frame.assign(
        model=sample_frame["model"].map(rename),
        text=EVIL + TOKEN,
        family=sample_frame["family"].str.replace("factual", "</script><b>factual"),
    )
    build(
        save(folder, replace(evidence, results=results, models=models, claims=claims), evil),
    )
    return folder
