"""A run is the same beside other plugins, in another order, over workers, and in parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, evidence, module, settled, verdicts

CLAIMS = module(
    claim_source("grows"),
    claim_source("shrinks", predicts="mean.below(0.0)"),
    claim_source(
        "sharp",
        predicts="mean.below(9.0)",
        observable="next_token_entropy",
        body="return next_token_entropy",
    ),
)
PLAIN = """
def test_one(claim_model):
    assert claim_model.model is not None

def test_two(claim_model):
    assert not claim_model.model.training
"""


def named(models: Path) -> list[str]:
    return [f"--claim-model={models / name}" for name in ("little", "other")]


@pytest.mark.slow
def test_workers_shuffling_and_coverage_change_nothing(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    project.makepyfile(test_claims=CLAIMS, test_plain=PLAIN)
    plain = project.runpytest_inprocess(
        *named(models), "-p", "no:randomly", "-p", "no:cacheprovider"
    )
    plain.assert_outcomes(passed=8, failed=2)
    alone = settled(evidence(project))

    seed = "-p", "randomly", "-p", "no:cacheprovider"
    shuffled = project.runpytest_inprocess(*named(models), *seed, "--randomly-seed=5")
    shuffled.assert_outcomes(passed=8, failed=2)
    assert settled(evidence(project)) == alone

    spread = project.runpytest_inprocess(
        *named(models), "-n", "2", "-v", "--cov=test_claims", "--cov-report=term", *seed
    )
    spread.assert_outcomes(passed=8, failed=2)
    assert settled(evidence(project)) == alone
    spread.stdout.fnmatch_lines(["test_claims.py * 100%*"])
    workers: dict[str, set[str]] = {}
    for line in spread.stdout.lines:
        if line.startswith("[gw") and ("PASSED" in line or "FAILED" in line):
            model = "little" if "little" in line else "other"
            workers.setdefault(model, set()).add(line[:5])
    assert {model: len(measured) for model, measured in workers.items()} == {
        "little": 1,
        "other": 1,
    }


def test_parts_of_a_run_from_any_folder(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A claim's own prompts lie beside it, however pytest is called.
    (project.path / "suite" / "inner").mkdir(parents=True)
    from_file = CLAIMS.replace('prompts="mine"', 'prompts="../sets/own.toml"')
    (project.path / "suite" / "inner" / "test_claims.py").write_text(from_file)
    (project.path / "suite" / "sets").mkdir()
    text = (project.path / "data" / "prompts" / "mine.toml").read_text()
    (project.path / "suite" / "sets" / "own.toml").write_text(text)
    model = named(models)[:1]
    for folder in (".", "suite/inner", "suite/sets"):
        monkeypatch.chdir(project.path / folder)
        result = project.runpytest_inprocess(project.path / "suite", *model)
        result.assert_outcomes(passed=2, failed=1)
    monkeypatch.chdir(project.path)

    project.runpytest_inprocess(*model, "--lf").assert_outcomes(failed=1)
    assert verdicts(project, "reports/part") == {("gain.shrinks", "little"): "refuted"}
    project.runpytest_inprocess(*model, "-k", "grows").assert_outcomes(passed=1, deselected=2)
    first = project.runpytest_inprocess(*model, "-x", "suite/inner/test_claims.py")
    first.assert_outcomes(passed=1, failed=1)
    single = project.runpytest_inprocess(*model, "suite/inner/test_claims.py::test_sharp")
    single.assert_outcomes(passed=1)
