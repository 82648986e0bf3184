"""The gate on files: exit codes, broken files, and the four forms of its outcome."""

from __future__ import annotations

import json

import pytest
from support.releases import altered, evidence, observations

from refutable.evidence.json import write
from refutable.evidence.observations import write_observations
from refutable.gate.compare import gate, run_gate
from refutable.gate.render import render
from refutable.records import Outcome


def _written(folder, made, frame):
    folder.mkdir()
    write(made, folder / "evidence.json")
    if frame is not None:
        write_observations(frame, folder / "observations.parquet")
    return folder / "evidence.json"


def test_files_and_exit_codes(tmp_path):
    base = _written(tmp_path / "base", evidence(), observations())
    moved = _written(tmp_path / "moved", evidence(), observations(shifts={"gain.mean": 0.1}))
    text, code = run_gate(base, base, strict=True)
    assert (code, text.splitlines()[0]) == (
        0,
        "gate passed: 7 same (strict: every claim must be the same)",
    )
    text, code = run_gate(base, moved)
    assert code == 1
    failing = [line for line in text.splitlines() if line.startswith("CHANGED")]
    assert len(failing) == 1
    assert "gain.mean (m, set, no-bos)  +0.1" in failing[0]


@pytest.mark.parametrize("broken", ["evidence.json", "observations.parquet"])
def test_a_truncated_file_cannot_be_judged(tmp_path, broken):
    base = _written(tmp_path / "base", evidence(), observations())
    other = _written(tmp_path / "other", evidence(), observations())
    file = other.parent / broken
    file.write_bytes(file.read_bytes()[:-200])
    text, code = run_gate(base, other)
    assert code == 3
    assert text.startswith("cannot judge: ")
    assert broken in text
    assert "\n" not in text
    assert run_gate(base, tmp_path / "absent.json")[1] == 3


def test_formats():
    odd = altered(
        evidence(), "gain.every", outcome=Outcome.ERROR, verdict=None, reason="a|b\n<c>,%"
    )
    report = gate(evidence(), odd, observations(), observations())
    markdown = render(report, "markdown")
    assert "| instrument failed | gain.every | m |  | a\\|b &lt;c&gt;,% |" in markdown
    content = json.loads(render(report, "json"))
    assert content["exit_code"] == 1
    assert {c["claim"]: c["status"] for c in content["changes"]}["gain.mean"] == "same"
    github = render(report, "github").splitlines()[0]
    assert github == (
        "::error title=instrument failed%3A gain.every (m%2C set%2C no-bos)::a|b%0A<c>,%25"
    )
