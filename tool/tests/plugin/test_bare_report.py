"""The report on a machine without torch: an environment that has what a report needs, no more."""

from __future__ import annotations

import re
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest
from golden import sample_run

from refutable.evidence.json import write
from refutable.evidence.observations import write_observations

PACKAGE = Path(__file__).parents[2] / "refutable"
NEEDS = ("numpy", "pandas", "pyarrow", "scipy", "matplotlib", "jinja2", "pydantic", "typer", "rich")

pytestmark = pytest.mark.slow


def closure(names: tuple[str, ...]) -> set[str]:
    """Names of distributions and of all that they require without extras."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in reached:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        reached.add(name)
        for line in requires:
            if "extra ==" not in line:
                waiting.append(re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0])
    return reached


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A virtual environment of its own whose packages are linked from those of this run."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    site = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    for name in closure(NEEDS):
        for file in metadata.files(name) or []:
            top = file.parts[0]
            source = Path(str(metadata.distribution(name).locate_file(top))).resolve()
            if top not in ("..", "__pycache__") and source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    (site / "refutable").symlink_to(PACKAGE)
    return tmp_path / "env" / "bin" / "python"


def test_the_report_needs_no_torch(bare: Path, tmp_path: Path) -> None:
    frame = sample_run.observations()
    write(sample_run.evidence(frame), tmp_path / "run" / "evidence.json")
    write_observations(frame, tmp_path / "run" / "observations.parquet")

    def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(bare), "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for missing in ("torch", "transformers", "pytest", "xarray"):
        assert "ModuleNotFoundError" in python(f"import {missing}").stderr
    program = "from refutable.cli.app import main; main()"
    done = python(program, "report", str(tmp_path / "run" / "evidence.json"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "gpt2-medium" in page
    assert "<svg" in page
    assert list((tmp_path / "run" / "figures").glob("*.png"))
    assert "refuted" in (tmp_path / "run" / "report.md").read_text("utf-8")


def test_a_missing_evidence_file_is_one_line(bare: Path, tmp_path: Path) -> None:
    program = "from refutable.cli.app import main; main()"
    command = [str(bare), "-c", program, "report", "none.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "no evidence at" in done.stderr
