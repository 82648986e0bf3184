"""Another package brings claims, observables, prompts and a model source by one entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.plugin_package import install
from support.projects import prompt_file

CLI = ("-c", "from refutable.cli.app import main; main()")
LOOK = """
import refutable
from refutable.models.registry import all_specs, resolve
from refutable.observables.registry import REGISTRY
from refutable.studies.catalogue import find_claim

assert find_claim("shelf.stream-is-long").observables == ("shelf_norm",)
assert "shelf_norms" in REGISTRY
assert [s.id for s in all_specs() if s.source == "shelf"] == ["shelved"]
assert resolve("shelf:little").source == "shelf"
seen = refutable.observe("shelved", "notes", ["shelf_norms", "residual_norm"])
assert abs(seen["shelf_norms"] / seen["residual_norm"] - 1).max() < 1e-4
assert seen.sizes["prompt"] == 30
print("seen")
"""


def run(folder: Path, models: Path, *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    paths = os.pathsep.join([str(folder), *inherited.get("PYTHONPATH", "").split(os.pathsep)])
    added = {"PYTHONPATH": paths, "REFUTABLE_CACHE": str(folder / "cache"), "SHELF": str(models)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=inherited | added,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_installed_plugin_is_found_everywhere(tmp_path: Path, models: Path) -> None:
    install(tmp_path, prompt_file(name="notes"))
    looked = run(tmp_path, models, "-c", LOOK)
    assert looked.stdout.endswith("seen\n"), looked.stderr
    verified = run(tmp_path, models, *CLI, "verify", "shelf.*", "--model", "shelf:little")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    evidence = json.loads((tmp_path / "reports" / "latest" / "evidence.json").read_text())
    (result,) = evidence["results"]
    assert (result["claim"], result["model"], result["prompts"]) == (
        "shelf.stream-is-long",
        "little",
        "notes",
    )
    assert result["verdict"] in ("confirmed", "refuted", "inconclusive")


def test_a_broken_plugin_is_one_line(tmp_path: Path, models: Path) -> None:
    install(tmp_path, prompt_file(name="notes"))
    (tmp_path / "shelf_plugin" / "observables.py").write_text("import nothing_of_that_name\n")
    done = run(tmp_path, models, *CLI, "list", "observables")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "plugin shelf_plugin cannot be imported" in done.stderr
    assert "nothing_of_that_name" in done.stderr
