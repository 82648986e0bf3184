"""What is selected, skipped or misspelt: nothing is measured for it, and a slip is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import claim_source, counting, evidence, loads, module

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")


def marked(mark: str, **claim: str) -> str:
    """Return the source of a claim that carries a mark."""
    return f"\n@pytest.mark.{mark}" + claim_source(**claim)


@pytest.mark.parametrize(
    "mark",
    ["skip(reason='not now')", "skipif('1 == 1', reason='not now')", "xfail(run=False)"],
)
def test_a_claim_that_is_skipped_is_not_measured(
    project: pytest.Pytester, models: Path, mark: str
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine="import pytest\n" + module(marked(mark, name="grows")))
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    counted = {"xfailed": 1} if mark.startswith("xfail") else {"skipped": 1}
    result.assert_outcomes(**counted)
    assert loads(log) == []
    assert not list(project.path.glob("cache/observations/**/*.safetensors"))
    (record,) = evidence(project)["results"]
    assert (record["outcome"], record["verdict"]) == ("skipped", None)
    assert record["reason"] == ("[NOTRUN]" if mark.startswith("xfail") else "not now")


def test_what_a_skipped_claim_asks_for_is_not_measured_for_others(
    project: pytest.Pytester, models: Path
) -> None:
    costly = marked(
        "skip", name="entropy", observable="next_token_entropy", body="return next_token_entropy"
    )
    project.makepyfile(test_mine="import pytest\n" + module(claim_source("grows"), costly))
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model).assert_outcomes(passed=1, skipped=1)
    import pandas as pd

    rows = pd.read_parquet(project.path / "reports" / "latest" / "observations.parquet")
    assert set(rows["quantity"]) == {"value", "residual_norm"}


def test_a_conftest_may_skip_before_anything_is_measured(
    project: pytest.Pytester, models: Path
) -> None:
    log = project.path / "loads.txt"
    skipping = "\nimport pytest\ndef pytest_runtest_setup(item):\n    pytest.skip('no time')\n"
    project.makeconftest(DATA + counting(log) + skipping)
    project.makepyfile(test_mine=module(claim_source("grows")))
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    result.assert_outcomes(skipped=1)
    assert loads(log) == []


def test_an_expected_failure_is_recorded_with_its_verdict(
    project: pytest.Pytester, models: Path
) -> None:
    shrinks = marked("xfail", name="shrinks", predicts="mean.below(0.0)")
    project.makepyfile(test_mine="import pytest\n" + module(shrinks))
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    result.assert_outcomes(xfailed=1)
    (record,) = evidence(project)["results"]
    assert (record["outcome"], record["verdict"]) == ("failed", "refuted")
    assert "n/a" not in result.stdout.str()


SLIPS = {
    "--claim-id=gain.grow": "no claim matches 'gain.grow': did you mean gain.grows",
    "--claim-id=weights.*": "no claim matches 'weights.*': known: gain.entropy, gain.grows",
    "--claim-model=tiny-layernrm": "unknown model 'tiny-layernrm': did you mean tiny-layernorm",
}


@pytest.mark.parametrize("option", SLIPS)
@pytest.mark.parametrize("how", [(), ("-k", "plain"), ("-p", "no:cacheprovider", "-x")])
def test_a_selection_of_nothing_is_a_usage_error(
    project: pytest.Pytester, models: Path, option: str, how: tuple[str, ...]
) -> None:
    project.makepyfile(
        test_mine=module(claim_source("grows"), claim_source("entropy")) + "def test_plain(): pass"
    )
    model = [] if "model" in option else [f"--claim-model={models / 'little'}"]
    result = project.runpytest_inprocess(option, *model, *how)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert SLIPS[option] in line
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.slow
def test_a_worker_ends_the_run_with_the_same_line(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    words = (f"--claim-model={models / 'little'}", "--claim-id=gain.grow", "-n", "2")
    result = project.runpytest_inprocess(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert text.count("no claim matches 'gain.grow': did you mean gain.grows") == 1
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text


def test_what_was_not_collected_is_not_called_unknown(
    project: pytest.Pytester, models: Path
) -> None:
    model = f"--claim-model={models / 'little'}"
    project.makepyfile(
        test_mine=module(claim_source("grows")),
        test_other=module(claim_source("shrinks", predicts="mean.below(0.0)")),
    )
    project.runpytest_inprocess(model).assert_outcomes(passed=1, failed=1)
    # With --lf the file of the claim that passed is not even read.
    last = project.runpytest_inprocess(model, "--lf", "--claim-id=gain.grows")
    assert last.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    # The same settings serve a run of another part of the tests.
    project.makeini("[pytest]\nclaim_report = no\nclaim_id = gain.grows\n")
    plain = project.makepyfile(test_plain="def test_plain(): pass")
    project.runpytest_inprocess(model, plain).assert_outcomes(passed=1)
    # What is wrong with a file is told before what was asked for is missed.
    project.makepyfile(test_mine="import nowhere_to_be_found")
    broken = project.runpytest_inprocess(model, "--claim-id=gain.grows")
    assert broken.ret == pytest.ExitCode.INTERRUPTED
    broken.stdout.fnmatch_lines(["*No module named 'nowhere_to_be_found'*"])
