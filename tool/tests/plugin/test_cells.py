"""Arms, several models at once, stored counterexamples, settings: which cells a run has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.projects import claim_source, evidence, module, prompt_file, verdicts, write_gpt2

from refutable.plugin import options

pytestmark = pytest.mark.filterwarnings("default")


def test_both_arms_are_measured_where_there_is_a_bos_token(
    project: pytest.Pytester, models: Path
) -> None:
    without = write_gpt2(project.path / "without", bos_token_id=None)
    project.makepyfile(test_mine=module(claim_source("grows", more='arms=("no-bos", "bos"),')))
    words = (f"--claim-model={models / 'little'}", f"--claim-model={without}")
    result = project.runpytest_inprocess(*words)
    result.assert_outcomes(passed=3, skipped=1)
    results = {(r["model"], r["arm"]): r for r in evidence(project)["results"]}
    assert set(results) == {(m, a) for m in ("little", "without") for a in ("no-bos", "bos")}
    skipped = results["without", "bos"]
    assert (skipped["outcome"], skipped["verdict"]) == ("skipped", None)
    assert skipped["reason"] == "without has no BOS token, so it has no BOS arm"
    # A token put first changes what is measured.
    values = [results["little", arm]["estimate"]["value"] for arm in ("no-bos", "bos")]
    assert abs(values[0] - values[1]) > 1e-3
    only = project.runpytest_inprocess(words[0], "--claim-arm=bos")
    only.assert_outcomes(passed=1)
    (record,) = evidence(project, "reports/part")["results"]
    assert record["estimate"]["value"] == values[1]


def test_a_claim_about_two_models_is_one_item(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(
        test_mine=module(
            claim_source("differs", predicts='contrast("little", "other").above(0.0)'),
            claim_source("agrees", predicts='contrast("other", "little").above(0.0)'),
            claim_source("grows"),
        )
    )
    words = [f"--claim-model={models / name}" for name in ("little", "other")]
    result = project.runpytest_inprocess(*words)
    result.assert_outcomes(passed=3, failed=1)
    results = {(r["claim"], r["model"]): r for r in evidence(project)["results"]}
    single = {m: results["gain.grows", m]["estimate"]["value"] for m in ("little", "other")}
    contrast = results["gain.differs", "little~other"]
    assert contrast["verdict"] == "confirmed"
    assert contrast["models"] == ["little", "other"]
    assert contrast["seeds"] == []
    # Paired by family, each of three prompts: the difference of means is the mean difference.
    difference = single["little"] - single["other"]
    assert contrast["estimate"]["value"] == pytest.approx(difference, abs=1e-6)
    assert contrast["estimate"]["clusters"] == 10
    assert results["gain.agrees", "other~little"]["verdict"] == "refuted"
    assert results["gain.agrees", "other~little"]["outcome"] == "failed"

    alone = project.runpytest_inprocess(words[0], "-rs")
    alone.assert_outcomes(passed=1, skipped=2)
    alone.stdout.fnmatch_lines(
        ["*no model of this run belongs to other: add it with --claim-model*"]
    )


def test_a_stored_counterexample_is_replayed(project: pytest.Pytester, models: Path) -> None:
    import pandas as pd

    # The prompt with the largest gain is taken out of the set; a bound just under its gain then
    # holds for all the others.
    project.makepyfile(test_mine=module(claim_source("grows")))
    words = [f"--claim-model={models / name}" for name in ("little", "halves")]
    # No search: it would find the prompt that is stored below by itself.
    words.append("--claim-search=0")
    project.runpytest_inprocess(*words, "--claim-update-baseline").assert_outcomes(passed=2)
    rows = pd.read_parquet(project.path / "reports" / "latest" / "observations.parquet")
    gains = rows[(rows["claim"] == "gain.grows") & (rows["model"] == "little")]
    second, largest = sorted(gains["value"])[-2:]
    assert largest - second > 1e-3
    text = str(gains.loc[gains["value"] == largest, "text"].iloc[0])
    ids = str([int(i) for i in text.split()])
    bound = second + 0.2 * (largest - second)

    rest = prompt_file().replace(ids + ", ", "").replace(", " + ids, "")
    assert ids not in rest
    (project.path / "data" / "prompts" / "mine.toml").write_text(rest)
    predicts = f"every(tolerance=0.0001).below({bound!r})"
    project.makepyfile(test_mine=module(claim_source("holds", predicts=predicts)))
    (project.path / "reports" / "baseline.json").unlink()
    without = project.runpytest_inprocess(*words)
    without.assert_outcomes(passed=2)
    assert set(verdicts(project).values()) == {"inconclusive"}

    counterexamples = project.path / "data" / "counterexamples"
    counterexamples.mkdir()
    (counterexamples / "gain.holds.toml").write_text(
        f'name = "found"\n[[family]]\nname = "found"\ninput_ids = [{ids}]\n'
    )
    replayed = project.runpytest_inprocess(*words)
    replayed.assert_outcomes(passed=1, failed=1)
    results = {r["model"]: r for r in evidence(project)["results"]}
    assert results["little"]["verdict"] == "refuted"
    counterexample = results["little"]["counterexample"]
    assert counterexample["origin"] == "replayed"
    assert counterexample["prompt"] == text
    assert counterexample["value"] == pytest.approx(largest, abs=1e-5)
    # It does not violate the claim on the model that halves the stream.
    assert results["halves"]["verdict"] == "inconclusive"
    assert results["halves"]["counterexample"] is None


def test_families_chosen_from_a_file_are_one_set_everywhere(
    project: pytest.Pytester, models: Path
) -> None:
    (project.path / "more.toml").write_text(prompt_file(name="another-name"))
    project.makepyfile(test_mine=module(claim_source("grows")))
    chosen = ",".join(f"f{f}" for f in range(6))
    words = (f"--claim-model={models / 'little'}", f"--claim-prompts=more.toml:{chosen}")
    project.runpytest_inprocess(*words, "--claim-update-baseline").assert_outcomes(passed=1)
    content = evidence(project)
    (result,), (prompts,) = content["results"], content["prompts"]
    assert result["prompts"] == prompts["name"] == f"another-name:{chosen}"
    assert (prompts["n"], prompts["families"]) == (18, 6)
    assert result["estimate"]["clusters"] == 6
    project.runpytest_inprocess(*words).assert_outcomes(passed=1)
    assert evidence(project)["results"][0]["expected"] == "confirmed"


def test_every_option_has_a_setting(project: pytest.Pytester) -> None:
    config = project.parseconfigure("-p", "no:cacheprovider")
    names = [*options._LISTS, *options._VALUES, *options._FLAGS]
    assert len(names) >= 13
    for name in names:
        setting = "claim_" + name.replace("-", "_")
        assert config.getoption(setting) is None
        config.getini(setting)
    text = project.runpytest_inprocess("--help").stdout.str()
    for name in names:
        assert f"--claim-{name}" in text


def test_settings_say_the_same_as_options_and_options_win(
    project: pytest.Pytester, models: Path
) -> None:
    listed = project.path / "models.txt"
    listed.write_text(f"# models of this suite\n{models / 'little'}\n\n")
    (project.path / "few.toml").write_text(prompt_file(6, name="few"))
    project.makeini(
        f"""
        [pytest]
        claim_model = {models / "other"}
        claim_models_from = models.txt
        claim_id = gain.g*
        claim_arm = no-bos
        claim_prompts = few.toml
        claim_device = cpu
        claim_dtype = bfloat16
        claim_out = results
        claim_baseline = recorded.json
        claim_report = no
        claim_update_baseline = yes
        claim_strict = yes
        """
    )
    project.makepyfile(
        test_mine=module(
            claim_source("grows", more='arms=("no-bos", "bos"),'), claim_source("shrinks")
        )
    )
    project.runpytest_inprocess().assert_outcomes(passed=2, deselected=2 + 2 - 2)
    content = evidence(project, "results")
    assert {(r["claim"], r["model"], r["arm"], r["prompts"]) for r in content["results"]} == {
        ("gain.grows", "other", "no-bos", "few"),
        ("gain.grows", "little", "no-bos", "few"),
    }
    assert {m["dtype"] for m in content["models"]} == {"bfloat16"}
    assert all(r["estimate"]["n"] == 18 for r in content["results"])
    raw = json.loads((project.path / "recorded.json").read_text())
    assert len(raw["verdicts"]) == 2
    assert not (project.path / "reports").exists()

    project.runpytest_inprocess(
        f"--claim-model={models / 'silent'}",
        "--claim-dtype=float32",
        "--claim-id=gain.s*",
        "--claim-out=elsewhere",
        "--claim-baseline=other.json",
    ).assert_outcomes(passed=2, deselected=2)
    content = evidence(project, "elsewhere")
    assert {m["id"] for m in content["models"]} == {"silent", "little"}
    assert {m["dtype"] for m in content["models"]} == {"float32"}
    assert (project.path / "other.json").exists()
    # Nothing is decided where the gain is exactly 0, and --claim-strict came from the file.
    raw = json.loads((project.path / "other.json").read_text())
    assert {r["verdict"] for r in raw["verdicts"]} == {"inconclusive", "confirmed"}


def test_a_model_folder_elsewhere_does_not_move_the_evidence(
    project: pytest.Pytester, models: Path
) -> None:
    # As two words, pytest takes the folder for a path of tests when it looks for its root.
    (project.path / "tox.ini").unlink()
    project.makepyfile(test_mine=module(claim_source("grows")))
    project.runpytest_inprocess(
        "--claim-model", str(models / "little"), "--claim-report=no"
    ).assert_outcomes(passed=1)
    assert evidence(project)["results"][0]["verdict"] == "confirmed"
