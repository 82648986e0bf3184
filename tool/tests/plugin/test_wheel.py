"""The built wheel in another project's environment: its own claim, with and without xdist."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from support.projects import claim_source, module, prompt_file, write_gpt2

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    environment |= {"REFUTABLE_CACHE": str(cache), "PYTHONPATH": ""}
    return subprocess.run(
        [str(w) for w in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; the dependencies are those of the environment of this run."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    built = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    wheel = next(folder.glob("refutable-*.whl"))
    venv.create(folder / "env", with_pip=False, symlinks=True)
    binary = folder / "env" / "bin" / "python"
    site = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    import zipfile

    zipfile.ZipFile(wheel).extractall(site)
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binary


def test_a_ten_line_claim_on_a_local_model(python: Path, tmp_path: Path) -> None:
    write_gpt2(tmp_path / "my-model")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "mine.toml").write_text(prompt_file())
    (tmp_path / "test_mine.py").write_text(module(claim_source(predicts="mean.within(-5.0, 5.0)")))
    words = ("-m", "pytest", "-q", "--claim-model", "my-model", "--claim-prompts", "mine.toml")
    plain = run(python, *words, cwd=tmp_path, cache=tmp_path / "cache")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert "CONFIRMED" in plain.stdout
    assert (tmp_path / "reports" / "latest" / "evidence.json").is_file()
    # The templates of the report travel with the package.
    assert "gain.grows" in (tmp_path / "reports" / "latest" / "report.html").read_text()
    # One claim: a second worker would have nothing to do.
    more = ("-n", "1", "--claim-report=no")
    worker = run(python, *words, *more, cwd=tmp_path, cache=tmp_path / "cache2")
    assert worker.returncode == 0, worker.stdout + worker.stderr
    assert "CONFIRMED" in worker.stdout


def test_the_bundled_claims_run_from_the_wheel(python: Path, tmp_path: Path) -> None:
    words = ("-m", "pytest", "-q", "--pyargs", "refutable.claims", "--claim-id=gain.*dampens")
    words += ("--claim-prompts=five-registers", "--claim-arm=no-bos", "--claim-report=no")
    process = run(python, *words, cwd=tmp_path, cache=tmp_path / "cache")
    assert process.returncode in (0, 1), process.stdout + process.stderr
    assert "gain.layernorm-dampens" in process.stdout
    assert (tmp_path / "reports" / "latest" / "evidence.json").is_file()
    where = run(
        python, "-c", "import refutable, refutable.claims as c; print(c.__path__)",
        cwd=tmp_path, cache=tmp_path / "cache",
    )  # fmt: skip
    assert "site-packages/refutable/claims" in where.stdout
