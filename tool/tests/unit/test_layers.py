"""Who may import whom, how large files are, and what the package's front holds."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import refutable

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tool" / "refutable"


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_public_names_are_few_and_there() -> None:
    assert len(refutable.__all__) <= 20
    assert len(set(refutable.__all__)) == len(refutable.__all__)
    for name in refutable.__all__:
        assert callable(getattr(refutable, name)) or hasattr(getattr(refutable, name), "above"), (
            name
        )
    with pytest.raises(AttributeError, match="has no attribute 'oracle'"):
        refutable.oracle  # noqa: B018


@pytest.mark.parametrize("folder", ["tool/refutable", "tool/tests", "claims"])
def test_files_read_in_one_sitting(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(lengths) > 5
    assert {path: n for path, n in lengths.items() if n > 350} == {}


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions of the package, with the file that each lies in."""
    return [
        (f"{path.relative_to(PACKAGE)}: {node.name}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_functions_fit_a_screen() -> None:
    measured = functions()
    long = [name for name, node in measured if (node.end_lineno or 0) - node.lineno + 1 > 50]
    assert len(measured) > 1000
    assert len(long) < 0.02 * len(measured), long


def test_what_has_more_than_five_parameters_takes_the_rest_by_name() -> None:
    # What a command of the command line takes are options, each of which the reader names.
    crowded = [
        name
        for name, node in functions()
        if not name.startswith("cli/commands/")
        and len([a for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")])
        > 5
    ]
    assert crowded == []


def test_files_are_short_in_the_middle_and_few_at_the_root() -> None:
    lengths = [len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")]
    assert statistics.median(lengths) <= 150
    assert max(lengths) <= 400
    assert len([p for p in PACKAGE.glob("*.py") if p.name != "__init__.py"]) <= 4


LIGHT = """
import sys
from refutable import claim, errors, records
from refutable.evidence import baseline
from refutable.spec import prompts
from refutable.observables import registry
from refutable.plugin import hooks
from refutable.evidence import json
print(*(name for name in {heavy!r} if name in sys.modules))
"""


def test_records_claims_and_reports_need_no_torch() -> None:
    heavy = ("torch", "transformers", "hypothesis.strategies", "matplotlib", "scipy.stats")
    code = LIGHT.format(heavy=heavy)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def test_statistics_and_reports_are_built_without_torch(tmp_path: Path) -> None:
    # Imported while torch is forbidden: whoever needs it at import fails.
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import refutable.stats.decide, refutable.stats.estimate, refutable.predictions\n"
        "import refutable.report.html, refutable.report.markdown, refutable.evidence.observations\n"
        "import refutable.evaluation.evaluate, refutable.gate.compare, refutable.store.store\n"
        "print('built')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "built", done.stderr
