"""What the site holds beside the pages: references from the registry, and the example report."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from refutable.observables.registry import REGISTRY
from refutable.studies.catalogue import bundled_claims

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

    from refutable.observables.record import Observable
    from refutable.spec.claim import Claim

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "reports" / "gallery"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made from the registry, and the example report."""
    made = {
        "reference/claims.md": claims_page(),
        "reference/observables.md": observables_page(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted(GALLERY.rglob("*")):
        if path.suffix in (".html", ".png"):
            name = path.relative_to(GALLERY).as_posix()
            files.append(File.generated(config, f"gallery/{name}", content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the example report, as they are in the repository, lead to its copy here."""
    up = "../" * page.file.src_uri.count("/")
    there = markdown.replace(f"({up}../reports/gallery/report.md)", f"({up}gallery/report.html)")
    return there.replace(f"({up}../reports/gallery/", f"({up}gallery/")


def claims_page() -> str:
    """Return the catalogue of claims, study by study."""
    claims = sorted(bundled_claims(), key=lambda claim: (claim.source.study, claim.id))
    lines = [
        "# Claims",
        "",
        f"The {len(claims)} claims that come with refutable; `refutable show ID` prints one, "
        "`refutable verify ID --model MODEL` decides it.",
        "",
    ]
    for study, of_study in groupby(claims, key=lambda claim: claim.source.study):
        lines += [f"## {study}", ""]
        for claim in of_study:
            lines += _claim(claim)
    return "\n".join(lines) + "\n"


def observables_page() -> str:
    """Return the reference of observables, by what they are made from."""
    kinds = {
        "Recorded in the pass": lambda item: item.recorder is not None,
        "Computed from others": lambda item: item.function is not None,
        "Experiments on the loaded model": lambda item: item.experiment is not None,
        "Read off the weights": lambda item: item.weights is not None,
    }
    lines = [
        "# Observables",
        "",
        "What the arguments of a claim's body may name, and what `refutable.observe` takes. One of "
        "your own is [a function](../observables.md).",
        "",
    ]
    for title, belongs in kinds.items():
        of_kind = [item for item in REGISTRY if belongs(item)]
        lines += [f"## {title}", "", "| name | dims | unit | version | what |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += [_observable(item) for item in of_kind]
        lines += [""]
    return "\n".join(lines) + "\n"


def _claim(claim: Claim) -> list[str]:
    stated = claim.report()
    rows = [
        ("predicts", stated.predicted),
        ("refuted if", stated.refuted_if),
        ("quantity", stated.quantity),
        ("unit", stated.unit),
        ("speaks of", stated.applies_to),
        ("prompts", claim.prompts or "the run's"),
        ("arms", ", ".join(claim.arms)),
        ("null control", stated.control),
        ("source", " ".join(filter(None, [stated.study, stated.ref, stated.citation]))),
    ]
    shown = [f"| {name} | {_cell(text)} |" for name, text in rows if text]
    return [
        f"### {claim.id}",
        "",
        _cell(stated.statement),
        "",
        "| | |",
        "| --- | --- |",
        *shown,
        "",
    ]


def _observable(item: Observable) -> str:
    dims = ", ".join(item.dims) or "scalar"
    more = f" From {', '.join(f'`{name}`' for name in item.needs)}." if item.needs else ""
    what = f"{_cell(item.description)}{more}"
    return f"| `{item.name}` | {dims} | {_cell(item.unit)} | {item.version} | {what} |"


def _cell(text: str) -> str:
    # Between back quotes a text is code already, in which a bar alone would end the cell.
    parts = text.split("`")
    parts[::2] = [re.sub(r"([<\[_*])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")
