"""`refutable init`, then `pytest`: a verdict; and claims of each word, on the embedded models."""

from __future__ import annotations

import pytest
from support.projects import evidence, verdicts

from refutable.cli.suite.layout import lay_out
from refutable.cli.suite.words import WORDS, claim_text

pytestmark = pytest.mark.usefixtures("_imported")

ALONE = sorted(set(WORDS) - {"contrast", "over-seeds", "each-seed"})


def test_a_new_suite_gives_verdicts_at_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(pytester.path / "cache"))
    lay_out(pytester.path)
    result = pytester.runpytest_inprocess("--claim-report=no")
    result.assert_outcomes(passed=2)
    assert all(verdict is not None for verdict in verdicts(pytester).values())
    assert {model["id"] for model in evidence(pytester)["models"]} == {
        "tiny-rmsnorm",
        "tiny-layernorm",
    }


def test_each_word_is_decided_or_left_open(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(pytester.path / "cache"))
    for word in ALONE:
        name = word.replace("-", "_")
        (pytester.path / f"test_{name}.py").write_text(
            claim_text(word, f"mine.{word}", f"test_{name}").replace("seeds=19", "seeds=2")
        )
    result = pytester.runpytest_inprocess(
        "--claim-report=no",
        "--claim-model=tiny-rmsnorm",
        "--claim-prompts=five-registers",
        "--claim-measure-only",
    )
    result.assert_outcomes(passed=len(ALONE))
    verdict_of = verdicts(pytester)
    assert {claim for claim, _ in verdict_of} == {f"mine.{word}" for word in ALONE}
    assert all(verdict is not None for verdict in verdict_of.values())
