"""From verdicts to test outcomes: with and without a recorded verdict, strict, updating."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.projects import claim_source, evidence, module, verdicts

# ClaimMoved is a warning of the inner run, which inherits the filters of this one.
pytestmark = pytest.mark.filterwarnings("default")


THREE = module(
    claim_source("grows"),
    claim_source("shrinks", predicts="mean.below(0.0)"),
    claim_source("precise", predicts="mean.within(-50.0, {middle})"),
)


def record(project: pytest.Pytester, **recorded: str) -> None:
    rows = [
        {"claim": f"gain.{c}", "model": "little", "prompts": "mine", "arm": "no-bos", "verdict": v}
        for c, v in recorded.items()
    ]
    path = project.path / "reports" / "baseline.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"schema": "refutable.baseline/1", "verdicts": rows}))


def recorded(project: pytest.Pytester) -> dict[str, str]:
    return {claim: row["verdict"] for claim, row in rows(project).items()}


def rows(project: pytest.Pytester) -> dict[str, dict[str, Any]]:
    raw = json.loads((project.path / "reports" / "baseline.json").read_text())
    return {row["claim"]: row for row in raw["verdicts"]}


def test_a_verdict_becomes_an_outcome_through_the_baseline(
    project: pytest.Pytester, models: Path
) -> None:
    # The bound of "precise" is put where the interval covers it, so that it cannot be decided.
    source = THREE.replace("{middle}", "0.0")
    project.makepyfile(test_mine=source)
    run = (f"--claim-model={models / 'little'}", "-p", "no:cacheprovider")

    first = project.runpytest_inprocess(*run)
    first.assert_outcomes(passed=1, failed=2)
    middle = next(
        r["estimate"]["value"] for r in evidence(project)["results"] if r["claim"] == "gain.grows"
    )
    assert middle > 0.1
    assert verdicts(project) == {
        ("gain.grows", "little"): "confirmed",
        ("gain.shrinks", "little"): "refuted",
        ("gain.precise", "little"): "refuted",
    }
    first.stdout.fnmatch_lines(
        [
            "gain.shrinks on little (mine, no-bos): refuted, and no verdict is recorded: "
            "if this is the finding, record it with --claim-update-baseline "
            "(of `refutable verify`: --update-baseline)",
            "  says        The last block grows the stream (shrinks).",
            "  refuted if  the mean log gain lies below 0",
            "  measured    +* n 30/10",
            "  predicted   mean over families below 0",
            "  because     *",
        ]
    )
    first.stdout.no_fnmatch_line("*Traceback*")
    first.stdout.fnmatch_lines(["REFUTED * gain.shrinks * little * nothing recorded"])

    project.makepyfile(test_mine=THREE.replace("{middle}", repr(middle)))
    record(project, grows="confirmed", shrinks="refuted", precise="confirmed")
    second = project.runpytest_inprocess(*run)
    second.assert_outcomes(passed=3, warnings=1)
    second.stdout.fnmatch_lines(
        ["INCONCLUSIVE  gain.precise  little * inconclusive where the baseline *; *crosses *"]
    )
    second.stdout.fnmatch_lines(["REFUTED * gain.shrinks * as recorded"])

    strict = project.runpytest_inprocess(*run, "--claim-strict")
    strict.assert_outcomes(passed=2, failed=1)
    strict.stdout.fnmatch_lines(["gain.precise on *inconclusive, which --claim-strict does not*"])

    # A recorded refutation that is now confirmed fails, as a strict xpass does.
    record(project, grows="refuted", shrinks="confirmed", precise="inconclusive")
    turned = project.runpytest_inprocess(*run)
    turned.assert_outcomes(passed=1, failed=2)
    turned.stdout.fnmatch_lines(
        ["*gain.grows*confirmed where the baseline records refuted*turned*"]
    )
    assert {r["claim"]: r["expected"] for r in evidence(project)["results"]} == {
        "gain.grows": "refuted",
        "gain.shrinks": "confirmed",
        "gain.precise": "inconclusive",
    }

    updated = project.runpytest_inprocess(*run, "--claim-update-baseline", "--claim-id=gain.grows")
    updated.assert_outcomes(passed=1, deselected=2)
    assert recorded(project) == {
        "gain.grows": "confirmed",
        "gain.shrinks": "confirmed",
        "gain.precise": "inconclusive",
    }


def test_an_estimate_that_left_the_recorded_one_warns_and_strict_fails(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    run = (f"--claim-model={models / 'little'}", "-p", "no:cacheprovider")
    project.runpytest_inprocess(*run, "--claim-update-baseline").assert_outcomes(passed=1)
    row = rows(project)["gain.grows"]
    estimate = evidence(project)["results"][0]["estimate"]
    for name in ("value", "low", "high", "n", "error"):
        assert row[name] == pytest.approx(estimate[name], rel=1e-8)
    # What was just recorded holds, to the strict too.
    project.runpytest_inprocess(*run, "--claim-strict").assert_outcomes(passed=1)

    path = project.path / "reports" / "baseline.json"
    path.write_text(path.read_text().replace(repr(row["high"]), repr(row["high"] + 0.01)))
    plain = project.runpytest_inprocess(*run)
    plain.assert_outcomes(passed=1, warnings=1)
    plain.stdout.fnmatch_lines(
        ["CONFIRMED     gain.grows  little * moved: the interval's high end is *records*"]
    )
    strict = project.runpytest_inprocess(*run, "--claim-strict")
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["gain.grows on little*: the interval's high end is *"])


def test_a_refutation_that_nobody_recorded_fails_or_is_a_finding(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=module(claim_source("shrinks", predicts="mean.below(-9.0)")))
    words = (f"--claim-model={models / 'little'}", "--claim-report=no")
    project.runpytest_inprocess(*words).assert_outcomes(failed=1)
    project.runpytest_inprocess(*words, "--claim-unrecorded=pass").assert_outcomes(passed=1)
    result = project.runpytest_inprocess(*words, "--claim-unrecorded=perhaps")
    result.stderr.fnmatch_lines(["*--claim-unrecorded expects fail or pass, got 'perhaps'*"])
