"""report.md of a fixed synthetic run, whole; ``UPDATE_GOLDEN=1`` writes the expected text anew."""

import os
from pathlib import Path

from golden import sample_run

from refutable.evidence.json import read, write
from refutable.report import markdown

EXPECTED = Path(__file__).parents[1] / "golden" / "report.md.txt"


def test_markdown_report_is_as_expected(tmp_path):
    write(sample_run.evidence(sample_run.observations()), tmp_path / "evidence.json")
    shown = markdown.render(read(tmp_path / "evidence.json"))
    if os.environ.get("UPDATE_GOLDEN"):
        EXPECTED.write_text(shown, encoding="utf-8")
    assert shown.splitlines() == EXPECTED.read_text("utf-8").splitlines()
