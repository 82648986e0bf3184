"""The five recipes of docs/developing.md, laid into a copy of the repository and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "developing.md").read_text("utf-8")
PYTHON = [sys.executable, "-c", "from refutable.cli.app import main; main()"]


def files_of_the_page() -> dict[str, str]:
    return dict(re.findall(r"^`([\w/.]+)`\n\n```python\n(.*?)^```", PAGE, re.M | re.S))


def commands_of_the_page() -> list[list[str]]:
    last = PAGE[PAGE.index("### All of it, tried") :]
    return [shlex.split(line)[1:] for line in re.findall(r"^    (refutable .*)$", last, re.M)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the recipes in it, and without a change of any other file."""
    root = tmp_path_factory.mktemp("checkout")
    for part in ("tool/refutable", "claims"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "fixtures").symlink_to(ROOT / "fixtures")
    for name, text in files_of_the_page().items():
        path = root / name
        assert not path.exists(), f"{name} is here already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run(words: list[str], copy: Path) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    paths = {
        "PYTHONPATH": str(copy / "tool"),
        "MODEL_SHELF": str(ROOT / "fixtures" / "twins" / "layernorm-both"),
    }
    done = subprocess.run(
        [*PYTHON, *words],
        cwd=copy,
        env=inherited | paths | {"REFUTABLE_CACHE": str(copy / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_a_file_for_each_recipe() -> None:
    wanted = ("claims/", "observables/", "figures/", "predictions/", "models/sources/")
    names = list(files_of_the_page())
    assert [part for part in wanted if not any(part in name for name in names)] == []
    assert len(re.findall(r"^### An? ", PAGE, re.M)) == 5


@pytest.mark.slow
def test_recipes_work_and_touch_no_list(copy: Path) -> None:
    show, verify, gate = commands_of_the_page()
    assert "mean over families of each family's median above 0" in run(show, copy)

    out = run(verify, copy)
    assert "first.block-grows" in out
    evidence = json.loads((copy / "found" / "evidence.json").read_text())
    (result,) = evidence["results"]
    assert (result["study"], result["model"]) == ("first-block", "seed-0")
    assert result["verdict"] in ("confirmed", "refuted", "inconclusive")
    (claim,) = evidence["claims"]
    assert claim["prediction"]["kind"] == "typical"
    drawn = [path.name for path in (copy / "found" / "figures").glob("*.png")]
    assert len(drawn) == 1
    assert "growth" in drawn[0]

    # The value by hand: five registers, the median of each, from what the report was drawn from.
    import pandas as pd

    rows = pd.read_parquet(copy / "found" / "observations.parquet")
    of_claim = rows[(rows["quantity"] == "value") & rows["control"].isna()]
    medians = of_claim.groupby("family", observed=True)["value"].median()
    assert (len(of_claim), len(medians)) == (25, 5)
    assert (result["estimate"]["n"], result["estimate"]["clusters"]) == (25, 5)
    assert abs(result["estimate"]["value"] - np.mean(medians)) < 1e-9

    assert "1 of 1 claims the same" in run(gate, copy)
