"""`refutable verify` end to end on the embedded models: exit codes, files, one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CLAIM = "gain.layernorm-dampens"


def refutable(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-c", "from refutable.cli.app import main; main()", *words],
        cwd=folder,
        env={**environment, "REFUTABLE_CACHE": str(folder / "cache"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def results(folder: Path) -> list[dict[str, Any]]:
    measured: list[dict[str, Any]] = json.loads((folder / "evidence.json").read_text())["results"]
    return measured


def test_verify_decides_records_and_compares(tmp_path: Path) -> None:
    # The settings of the folder that `refutable` is started in hold.
    (tmp_path / "pytest.ini").write_text("[pytest]\nclaim_report = no\n")
    words = ("verify", CLAIM, "--model", "tiny-layernorm", "--prompts", "five-registers")
    first = refutable(tmp_path, *words, "--arm", "no-bos", "--out", "found")
    assert first.stderr == ""
    (result,) = results(tmp_path / "found")
    assert (result["claim"], result["model"]) == (CLAIM, "tiny-layernorm")
    assert (result["prompts"], result["arm"]) == ("five-registers", "no-bos")
    assert result["verdict"] in ("confirmed", "refuted", "inconclusive")
    # A refutation that nobody has recorded is a finding.
    assert first.returncode == 0, first.stdout
    assert CLAIM in first.stdout
    assert not (tmp_path / "found" / "report.html").exists()

    other = {"confirmed": "refuted", "refuted": "confirmed", "inconclusive": "refuted"}
    row = {"claim": CLAIM, "model": "tiny-layernorm", "prompts": "five-registers", "arm": "no-bos"}
    recorded = tmp_path / "recorded.json"
    rows = [{**row, "verdict": other[result["verdict"]]}]
    recorded.write_text(json.dumps({"schema": "refutable.baseline/1", "verdicts": rows}))
    compare = (*words, "--arm", "no-bos", "--out", "found", "--baseline", "recorded.json")
    turned = refutable(tmp_path, *compare)
    decided = result["verdict"] != "inconclusive"
    assert turned.returncode == (1 if decided else 0), turned.stdout
    assert "refutable verify" in results(tmp_path / "found")[0]["command"]

    updated = refutable(tmp_path, *compare, "--update-baseline")
    assert updated.returncode == 0, updated.stdout
    (kept,) = json.loads(recorded.read_text())["verdicts"]
    assert {name: kept[name] for name in (*row, "verdict")} == {**row, "verdict": result["verdict"]}
    assert kept["value"] == pytest.approx(result["estimate"]["value"], rel=1e-6)
    assert kept["n"] == result["estimate"]["n"]

    # The command that a result names reruns exactly that cell.
    import shlex

    rerun = shlex.split(results(tmp_path / "found")[0]["command"])
    assert rerun[0] == "refutable"
    done = refutable(tmp_path, *rerun[1:], "--out", "rerun")
    assert done.returncode == first.returncode
    (once_more,) = results(tmp_path / "rerun")
    assert once_more["estimate"] == result["estimate"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("verify", "gain.layernorm-dampen"), "did you mean gain.layernorm-dampens"),
        (("show", "gain.nothing"), "unknown claim 'gain.nothing'"),
        (("report", "missing.json"), "no evidence at missing.json"),
        (("fetch", "smollm2"), "unknown model 'smollm2': did you mean smollm2-135m"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    done = refutable(tmp_path, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("refutable: ")
    assert expected in line
