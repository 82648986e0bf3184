"""Searches of a run, on models whose counterexamples are known: what is kept, replayed and told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.planted_tokens import write_planted
from support.projects import claim_source, evidence, module
from typer.testing import CliRunner

from refutable.falsify.counterexamples import CounterexampleStore, read, write

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

PAIR = (101, 203)
SHRINKS = claim_source("shrinks", predicts="every.below(0.0)")
ON_AVERAGE = claim_source("on_average", predicts="mean.below(0.0)")
SLOW = claim_source(
    "shrinks",
    predicts="every.below(0.0)",
    body="import time; time.sleep(0.1); return growth(residual_norm)",
)
KEPT = ".refutable/counterexamples/gain.shrinks.toml"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder / "violates", PAIR)
    write_planted(folder / "holds", PAIR, holds=True)
    return folder


def results(project: pytest.Pytester, out: str = "reports/latest") -> dict[str, Any]:
    return {f"{r['claim']} {r['model']}": r for r in evidence(project, out)["results"]}


def command(project: pytest.Pytester, *more: str) -> tuple[list[str], dict[str, str]]:
    env = dict(os.environ, REFUTABLE_CACHE=str(project.path / "cache"))
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *more], env


def test_a_killed_search_leaves_what_it_had_and_the_next_run_goes_on(
    project: pytest.Pytester, planted: Path
) -> None:
    project.makepyfile(test_mine=module(SLOW))
    kept = project.path / KEPT
    model = f"--claim-model={planted / 'violates'}"
    words, env = command(project, model, "--claim-search=20000")
    running = subprocess.Popen(
        words, cwd=project.path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # The body takes its time, so that shrinking lasts for seconds behind the first violation.
        while running.poll() is None and not kept.is_file():
            time.sleep(0.02)
        assert kept.is_file(), "the search ended without a violation"
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL
    assert not (project.path / "reports/latest/evidence.json").exists()
    (left,) = read(kept)
    assert set(PAIR) <= set(left.ids)
    assert left.value > 0
    assert not left.complete

    project.makepyfile(test_mine=module(SHRINKS))
    project.runpytest_inprocess(model).assert_outcomes(failed=1)
    measured = results(project)["gain.shrinks violates"]["counterexample"]
    assert measured["origin"] == "replayed"
    assert measured["how"] == left.how
    assert measured["tokens_before"] == left.tokens_before
    assert measured["minimal"]
    assert measured["verified"]
    assert sorted(measured["ids"]) == sorted(PAIR)
    (after,) = read(kept)
    assert sorted(after.ids) == sorted(PAIR)
    assert after.complete


def test_what_holds_no_longer_is_dropped_with_a_note_and_searched_anew(
    project: pytest.Pytester, planted: Path
) -> None:
    project.makepyfile(test_mine=module(SHRINKS))
    model = f"--claim-model={planted / 'violates'}"
    project.runpytest_inprocess(model).assert_outcomes(failed=1)
    first = results(project)["gain.shrinks violates"]["counterexample"]
    assert first["origin"] == "searched"
    (kept,) = read(project.path / KEPT)

    # Somebody writes other token ids into the file: they violate nothing.
    changed = (project.path / KEPT).read_text().replace(f"ids = {list(kept.ids)}", "ids = [9, 11]")
    (project.path / KEPT).write_text(changed)
    result = project.runpytest_inprocess(model)
    result.assert_outcomes(failed=1)
    (note,) = [line for line in evidence(project)["notes"] if "violates no longer" in line]
    assert "gain.shrinks" in note
    assert "dropped" in note
    assert sorted(results(project)["gain.shrinks violates"]["counterexample"]["ids"]) == [*PAIR]
    (after,) = read(project.path / KEPT)
    assert sorted(after.ids) == [*PAIR]


def test_a_mean_reports_its_worst_prompt_and_keeps_its_verdict(
    project: pytest.Pytester, planted: Path
) -> None:
    project.makepyfile(test_mine=module(ON_AVERAGE))
    model = f"--claim-model={planted / 'violates'}"
    project.runpytest_inprocess(model)
    before = results(project)["gain.on-average violates"]
    assert before["search"] is None
    project.runpytest_inprocess(model, "--claim-search=600")
    after = results(project)["gain.on-average violates"]
    for name in ("verdict", "estimate", "counterexample", "reason"):
        assert after[name] == before[name]
    assert after["verdict"] == "confirmed"
    worst = after["search"]["worst"]
    # The worst of all prompts holds both tokens and grows, though the mean shrinks.
    assert worst["value"] > 0
    assert set(PAIR) <= set(worst["ids"])
    assert not (project.path / KEPT).parent.exists()


def test_where_nothing_violates_a_fresh_sample_bounds_it(
    project: pytest.Pytester, planted: Path
) -> None:
    project.makepyfile(test_mine=module(SHRINKS))
    model = f"--claim-model={planted / 'holds'}"
    project.runpytest_inprocess(model, "--claim-search=200", "--claim-certify=300")
    measured = results(project)["gain.shrinks holds"]
    assert measured["verdict"] == "inconclusive"
    assert measured["search"]["candidates"] == 200
    assert f"at most {1 - 0.05 ** (1 / 300):.2%}" in measured["search"]["certificate"]
    assert "uniform-tokens/1" in measured["search"]["certificate"]
    assert measured["search"]["certificate"] in measured["reason"]


@pytest.mark.parametrize("how", ["evidence", "store"])
def test_the_gate_tells_a_new_counterexample(
    project: pytest.Pytester, planted: Path, how: str
) -> None:
    project.makepyfile(test_mine=module(SHRINKS))
    for out, name in (("before", "holds"), ("after", "violates")):
        more = [f"--claim-model={planted / name}", f"--claim-out={out}"]
        project.runpytest_inprocess(*more)
    if how == "store":
        # The candidate was evaluated without a search; what a search found since is in the store.
        (project.path / KEPT).rename(project.path / "aside.toml")
        more = [f"--claim-model={planted / 'violates'}", "--claim-out=after", "--claim-search=0"]
        project.runpytest_inprocess(*more)
        assert results(project, "after")["gain.shrinks violates"]["counterexample"] is None
        assert "new counterexample" not in gated(project).output.lower()
        (project.path / "aside.toml").rename(project.path / KEPT)
    told = gated(project)
    assert told.exit_code == 1
    assert "new counterexample" in told.output.lower()

    # Once the base is known to fail on a prompt too, it is no longer new.
    kept = CounterexampleStore(project.path / ".refutable/counterexamples")
    (one,) = kept.of("gain.shrinks")
    base = {m["id"]: m["weights_digest"] for m in evidence(project, "before")["models"]}["holds"]
    known = Path(project.path / KEPT)
    write(known, [one, type(one)(**{**_fields(one), "model": "holds", "weights": base})])
    assert "new counterexample" not in gated(project).output.lower()


def gated(project: pytest.Pytester) -> Any:
    from refutable.cli.app import app

    return CliRunner().invoke(app, ["gate", "before", "after", "--verbose"])


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in type(one).__dataclass_fields__}


def test_the_same_search_is_made_in_one_process_or_two(
    project: pytest.Pytester, planted: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_mine=module(SHRINKS, ON_AVERAGE))
    models = [f"--claim-model={planted / name}" for name in ("violates", "holds")]
    made = []
    for workers in ([], ["-n", "2"]):
        out = f"out-{len(made)}"
        monkeypatch.setenv("REFUTABLE_CACHE", str(project.path / f"cache-{len(made)}"))
        project.runpytest_inprocess(*models, "--claim-search=300", f"--claim-out={out}", *workers)
        (project.path / KEPT).rename(project.path / f"kept-{len(made)}.toml")
        made.append(
            {k: (r["search"], r["counterexample"]) for k, r in results(project, out).items()}
        )
    assert len(made[0]) == 4
    assert made[0] == made[1]
    texts = [(project.path / f"kept-{place}.toml").read_text() for place in (0, 1)]
    assert texts[0] == texts[1]
