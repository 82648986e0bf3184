"""``report.html``: one file that needs no network, no script and no other file to be read.

Every text of the evidence is escaped and its invisible characters are named; a content security
policy forbids scripts other than the page's own few lines, and any request. A run whose page would
grow too large has a page for each study beside it, in ``report/``, with what the first leaves out.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.records import Evidence
from refutable.report import overview, tables, text
from refutable.report.cells import by_result
from refutable.report.counterexamples import attacked
from refutable.report.figures.registry import Omitted
from refutable.report.findings import head
from refutable.report.views import Drawn as Drawn
from refutable.report.views import StudyView, figure_view, study_view

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment
    from markupsafe import Markup


LIMIT = 3_000_000
"""Bytes of a page. Past it the first page leaves its strips of observations and its largest figures
to the pages of the studies; these leave out the largest figures, then the strips, and say so."""

PAGE = "report.html"
FOLDER = "report"
"""Where the pages of the studies lie, where there are any."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What stands on one page."""

    evidence: Evidence
    studies: tuple[StudyView, ...]
    has_observations: bool
    strips: bool = True
    folder: str = ""
    """Where, seen from this page, the page of each study lies that holds more; empty for none."""
    whole: str = ""
    """Where, seen from this page, the page of the whole run lies; empty for that page itself."""


def pages(
    evidence: Evidence, frame: pd.DataFrame | None, drawn: Drawn | None = None
) -> dict[str, str]:
    """Return the report as HTML pages.

    Parameters
    ----------
    evidence : Evidence
        The run.
    frame : DataFrame or None
        Its observations; without them the page has no strips and says so.
    drawn : Drawn, optional
        Figures on disk, put into the page.

    Returns
    -------
    dict of str to str
        Pages by their names in the folder of the report: ``report.html``, and one for each study
        in ``report/`` where the first would be too large with everything on it.
    """
    drawn = drawn or Drawn(Path())
    views = {figure.name: figure_view(figure, drawn.folder) for figure in drawn.figures}
    observed = by_result(frame) if frame is not None else {}
    studies = tuple(
        study_view(matrix, evidence, observed, drawn, views) for matrix in tables.matrices(evidence)
    )
    first = _Part(evidence, studies, frame is not None)
    if len(studies) == 1:
        return {PAGE: _fitted(first)}
    whole = _page(first)
    if _size(whole) <= LIMIT:
        return {PAGE: whole}
    made = {}
    for study in studies:
        ids = {view.claim.id for view in study.claims}
        results = tuple(r for r in evidence.results if r.claim in ids)
        used = {name for r in results for name in (r.model, *r.models)}
        part = replace(
            evidence,
            claims=tuple(c for c in evidence.claims if c.id in ids),
            results=results,
            models=tuple(m for m in evidence.models if m.id in used),
            over_models=tuple(m for m in evidence.over_models if m.claim in ids),
        )
        page = _Part(part, (study,), frame is not None, whole=f"../{PAGE}")
        made[f"{FOLDER}/{study.file}"] = _fitted(page)
    short = replace(first, strips=False, folder=FOLDER)
    return {PAGE: _fitted(short, "on the page of the study"), **made}


def render(evidence: Evidence, frame: pd.DataFrame | None, drawn: Drawn | None = None) -> str:
    """Return the first page; see `pages`."""
    return pages(evidence, frame, drawn)[PAGE]


def _fitted(part: _Part, why: str = "too large for this page: see the folder of figures") -> str:
    """Lay out a page, without its largest figures where it is too large, then without strips."""
    page = _page(part)
    excess = _size(page) - LIMIT
    if excess <= 0:
        return page
    sizes = {f.name: _size(str(f.svg)) for study in part.studies for f in study.figures}
    left: set[str] = set()
    for name in sorted(sizes, key=lambda n: (-sizes[n], n)):
        if excess <= 0:
            break
        left.add(name)
        excess -= sizes[name]
    fewer = replace(part, studies=tuple(_without(study, left, why) for study in part.studies))
    page = _page(fewer)
    if _size(page) > LIMIT and part.strips:
        return _page(replace(fewer, strips=False))
    return page


def _without(study: StudyView, left: set[str], why: str) -> StudyView:
    said = (
        Omitted(study.matrix.study, f.name, f.title, why) for f in study.figures if f.name in left
    )
    kept = tuple(f for f in study.figures if f.name not in left)
    return replace(study, figures=kept, omitted=(*study.omitted, *said))


def _size(page: str) -> int:
    return len(page.encode("utf-8", "backslashreplace"))


def _page(part: _Part) -> str:
    evidence = part.evidence
    script = _asset("report.js")
    tried = [cell for study in part.studies for view in study.claims for cell in view.tried]
    template = _environment().get_template("report.html.j2")
    return template.render(
        page=part,
        evidence=evidence,
        studies=part.studies,
        present={figure.name for study in part.studies for figure in study.figures},
        tally=tables.tally(evidence.results),
        findings=overview.counts(evidence.results),
        leads=overview.leads(tried),
        choices=overview.choices((study.matrix.study for study in part.studies), tried),
        readings=tables.readings(evidence.results),
        changes=tuple(cell for cell in tried if cell.changed),
        failed=tables.failed_models(evidence),
        attacked=attacked(tried),
        has_observations=part.has_observations,
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        symbols=tables.SYMBOLS,
        reading_words=tables.READINGS,
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("refutable.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "t": _text,
        "plain": text.visible,
        "number": text.number,
        "region": text.region,
        "probability": text.probability,
        "duration": text.duration,
        "state": tables.state,
        "zip": zip,
        "head": head,
        "figure_anchor": lambda name: f"figure-{tables.slug(name, 120)}",
        "model_anchor": _model_anchor,
    }
    environment.globals |= {"interval": text.interval, "count": text.count}
    return environment


def _text(value: object, limit: int = text.LIMIT) -> Markup:
    """Isolate a text of the evidence from the direction of the page, escaped."""
    from markupsafe import Markup

    return Markup("<bdi>{}</bdi>").format(text.visible(str(value), limit))


def _model_anchor(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"model-{tables.slug(name)}-{digest}"


def _asset(name: str) -> str:
    return (resources.files("refutable.report") / "templates" / name).read_text("utf-8")
