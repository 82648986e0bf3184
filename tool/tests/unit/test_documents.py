"""Code of the documents: every block is run, or says why not or by which test.

A fenced block is run, page by page in the order of the page: ``python`` in one namespace, ``sh`` by
bash in one folder; ``toml`` and ``yaml`` are read. A remark above a block marks what is not run:
``<!-- not run: reason -->``, or ``<!-- run by FILE -->`` for what another test runs; ``<!-- all run
by FILE -->`` speaks for a page. Indented blocks show output and forms, never what a reader types.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from refutable.observables.registry import REGISTRY
from refutable.studies.catalogue import bundled_claims

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = re.compile(r"<!-- (not run: (?P<why>.+)|run by (?P<test>\S+)) -->\s*")
ALL = re.compile(r"^<!-- all run by (\S+) -->$", re.M)
TYPED = re.compile(r"\s*(\$ |refutable |pytest\b|pip |python |import |from \w+ import|set -e)")
KNOWN = {"python", "sh", "toml", "yaml", "text"}
PYTHON = shlex.quote(sys.executable)
SHELL = f"""
refutable() {{ {PYTHON} -c "from refutable.cli.app import main; main()" "$@"; }}
pytest() {{ {PYTHON} -m pytest "$@"; }}
set -euo pipefail
"""


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    mark: str


def blocks(page: Path) -> Iterator[Block]:
    """Blocks of code of a page; those that another test runs are left out."""
    text = page.read_text("utf-8")
    if ALL.search(text):
        return
    mark = ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            language = token.info.strip() if token.type == "fence" else "indented"
            yield Block(token.map[0] + 1, language, token.content, mark)
        match = MARK.fullmatch(token.content) if token.type == "html_block" else None
        mark = match[0].strip() if match else ""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN = [
    page
    for page in PAGES
    if any(one.language in ("python", "sh") and not one.mark for one in blocks(page))
]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_run_read_or_marked(page: Path) -> None:
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        if block.language == "indented":
            typed = [line for line in block.text.splitlines() if TYPED.match(line)]
            assert typed == [], f"{where}: fence what a reader types, so that it is run"
            continue
        assert block.language in KNOWN, f"{where}: {block.language!r} is neither run nor read"
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_marks_name_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = [match["test"] for match in MARK.finditer(text) if match["test"]]
    for path in [*named, *ALL.findall(text)]:
        assert (ROOT / path).is_file(), f"{name(page)} says that {path} runs it"
        if path.endswith(".py"):
            said = (ROOT / path).read_text("utf-8")
            assert page.name in said or "claim_model" in said, f"{path} says nothing of it"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_what_a_page_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    space: dict[str, object] = {"__name__": f"page_{page.stem.replace('-', '_')}"}
    for block in blocks(page):
        if block.mark or block.language not in ("python", "sh"):
            continue
        if block.language == "python":
            where = f"<{name(page)}:{block.line}>"
            linecache.cache[where] = (len(block.text), None, block.text.splitlines(True), where)
            exec(compile(block.text, where, "exec"), space)  # noqa: S102
        else:
            shell(block, tmp_path)


def shell(block: Block, folder: Path) -> None:
    """Run a block by bash, in the folder where the block before it ended."""
    place = folder / "where"
    begin = f"cd {shlex.quote(place.read_text().strip())}\n" if place.exists() else ""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        ["bash", "-c", f"{SHELL}{begin}{block.text}\npwd > {shlex.quote(str(place))}"],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.slow
def test_the_notebook_runs_from_measuring_to_a_plot_and_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    path = ROOT / "docs" / "notebook.ipynb"
    kept = path.read_text("utf-8")
    assert "stderr" not in kept, "a notebook is committed without warnings and paths of a machine"
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.reads(kept, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    shown = [out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 1
    verdicts = " ".join(data.get("text/plain", "") for data in shown)
    assert re.search(r"mine\.last-block-grows +tiny-rmsnorm +(confirmed|refuted|inconcl)", verdicts)


def test_the_references_hold_everything_of_the_registry() -> None:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    claims, observables = hooks.claims_page(), hooks.observables_page()
    assert [c.id for c in bundled_claims() if f"### {c.id}\n" not in claims] == []
    assert [o.name for o in REGISTRY if f"| `{o.name}` |" not in observables] == []


def test_the_site_names_each_page() -> None:
    # The build itself, strict, is a step of .ci/run.
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    docs = ROOT / "docs"
    pages = [path.relative_to(docs) for path in docs.rglob("*.md")]
    assert [str(page) for page in pages if f"{page}\n" not in settings] == []
