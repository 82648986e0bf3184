"""What a run leaves beside the verdicts: JUnit properties, reports, observations."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.projects import claim_source, evidence, module

pytestmark = pytest.mark.filterwarnings("default")


def properties(path: Path) -> dict[str, dict[str, str]]:
    cases = ElementTree.parse(path).getroot().iter("testcase")  # noqa: S314  (our own file)
    return {
        str(case.get("name")): {
            str(p.get("name")): str(p.get("value")) for p in case.iter("property")
        }
        for case in cases
    }


def test_junit_carries_verdict_estimate_and_control(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(
        test_mine=module(
            claim_source("grows", more='control=untrained(seeds=2), unit="log ratio",'),
            claim_source("shrinks", predicts="mean.below(0.0)"),
            claim_source("rms", more='models=normalized_by("RMSNorm"),'),
        )
    )
    project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", "--junitxml=junit.xml"
    ).assert_outcomes(passed=1, failed=1, skipped=1)
    stated = properties(project.path / "junit.xml")
    results = {r["claim"]: r for r in evidence(project)["results"]}
    grows = stated["test_grows[little@mine@no-bos]"]
    estimate = results["gain.grows"]["estimate"]
    assert grows["refutable.claim"] == "gain.grows"
    assert grows["refutable.model"] == "little"
    assert grows["refutable.prompts"] == "mine"
    assert grows["refutable.arm"] == "no-bos"
    assert grows["refutable.verdict"] == "confirmed"
    assert float(grows["refutable.estimate"]) == estimate["value"]
    assert grows["refutable.n"] == "30"
    assert grows["refutable.families"] == "10"
    assert grows["refutable.unit"] == "log ratio"
    reading = results["gain.grows"]["control"]["reading"]
    assert grows["refutable.control.reading"] == reading
    shrinks = stated["test_shrinks[little@mine@no-bos]"]
    assert shrinks["refutable.verdict"] == "refuted"
    assert "refutable.verdict" not in stated["test_rms[little@mine@no-bos]"]
    # The control is two fresh copies, whose values are in the observations.
    control = results["gain.grows"]["control"]
    assert control["models"] == ["little@untrained-0", "little@untrained-1"]
    assert control["estimate"]["seeds"] == 2


def test_observations_hold_what_the_body_returned(project: pytest.Pytester, models: Path) -> None:
    import pandas as pd

    project.makepyfile(test_mine=module(claim_source("grows", more="control=untrained(seeds=2),")))
    project.runpytest_inprocess(f"--claim-model={models / 'halves'}").assert_outcomes(failed=1)
    rows = pd.read_parquet(project.path / "reports" / "latest" / "observations.parquet")
    values = rows[(rows["claim"] == "gain.grows") & rows["control"].isna()]
    assert len(values) == 30
    assert values["value"].to_numpy() == pytest.approx(-0.693147, abs=1e-5)
    assert values["family"].nunique() == 10
    assert set(values["register"]) == {"low", "high"}
    copies = rows[(rows["claim"] == "gain.grows") & rows["control"].notna()]
    assert copies.groupby("control").size().to_dict() == {"untrained-0": 30, "untrained-1": 30}
    norms = rows[(rows["quantity"] == "residual_norm") & rows["control"].isna()]
    by_layer = norms.pivot(index="prompt", columns="layer", values="value")
    assert by_layer.shape == (30, 3)
    assert (by_layer[2] / by_layer[1]).to_numpy() == pytest.approx(0.5, abs=1e-6)
    assert not (project.path / "reports" / "latest" / ".shards").exists()


@pytest.mark.slow
def test_the_report_is_written_from_what_the_run_leaves(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    result = project.runpytest_subprocess(
        f"--claim-model={models / 'little'}", "--claim-report=yes"
    )
    result.assert_outcomes(passed=1)
    out = project.path / "reports" / "latest"
    page = (out / "report.html").read_text()
    assert "gain.grows" in page
    assert "The last block grows the stream (grows)." in page
    assert "gain.grows" in (out / "report.md").read_text()
