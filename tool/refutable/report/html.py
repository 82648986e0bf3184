"""``report.html``: one file that needs no network, no script and no other file to be read.

Every text of the evidence is escaped and its invisible characters are named; a content security
policy forbids scripts other than the page's own few lines, and any request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.records import ClaimReport, Evidence, Result
from refutable.report import overview, tables, text
from refutable.report.cells import Cell, Key, by_result, make_cell
from refutable.report.charts import Line, number_line
from refutable.report.counterexamples import attacked
from refutable.report.figures.inline import inline, pixels
from refutable.report.figures.registry import Omitted
from refutable.report.findings import head
from refutable.report.tables import Matrix

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment
    from markupsafe import Markup

    from refutable.report.figures.draw import Rendered


LIMIT = 3_000_000
"""Bytes of a page; past it the strips of observations are left out, then the largest figures, and
the page says so."""


FIGURE_LIMIT = 60_000
"""Characters of a drawing past which a figure becomes an image in the page, if that is smaller."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The figures of a run on disk."""

    folder: Path
    figures: tuple[Rendered, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    """Figures that could not be drawn, with the reason."""


@dataclass(frozen=True, slots=True)
class FigureView:
    """A figure as the page shows it."""

    anchor: str
    title: str
    caption: str
    footer: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim with all its cells."""

    claim: ClaimReport
    anchor: str
    forest: Markup | str
    cells: tuple[Cell | None, ...]

    @property
    def tried(self) -> tuple[Cell, ...]:
        """Cells that hold a result about a model that the claim speaks of."""
        return tuple(c for c in self.cells if c is not None and c.state != "skipped")

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Models that the claim does not speak of, each once, with the reason."""
        cells = (c for c in self.cells if c is not None and c.state == "skipped")
        return tuple(dict.fromkeys((c.result.model, c.result.reason) for c in cells))


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study: its matrix, claims and figures."""

    matrix: Matrix
    anchor: str
    heads: tuple[tuple[tables.Column, str, tuple[str, ...]], ...]
    """Column, norm kind, and what tells the column apart."""
    claims: tuple[ClaimView, ...]
    figures: tuple[FigureView, ...]
    omitted: tuple[Omitted, ...]

    @property
    def block(self) -> overview.Block:
        """Its part of the first screen."""
        heads = [(c.model, " · ".join(filter(None, (k, *more)))) for c, k, more in self.heads]
        claims = [(view.claim.ref, view.cells) for view in self.claims]
        return overview.block(self.matrix.study, self.anchor, heads, claims)


def render(
    evidence: Evidence,
    frame: pd.DataFrame | None,
    drawn: Drawn | None = None,
) -> str:
    """Return the report as one HTML page.

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
    str
        The page.
    """
    drawn = drawn or Drawn(Path())
    views = {figure.name: _figure(figure, drawn.folder) for figure in drawn.figures}
    page = _page(evidence, frame, by_result(frame) if frame is not None else {}, drawn, views)
    if _size(page) > LIMIT:
        page = _page(evidence, frame, {}, drawn, views, shortened=True)
    if _size(page) > LIMIT:
        fewer = _without_largest(drawn, views, _size(page) - LIMIT)
        page = _page(evidence, frame, {}, fewer, views, shortened=True)
    return page


def _size(page: str) -> int:
    return len(page.encode("utf-8", "backslashreplace"))


def _without_largest(drawn: Drawn, views: Mapping[str, FigureView], excess: int) -> Drawn:
    """Leave the largest figures to the folder beside the page, until the page fits."""
    sizes = {name: _size(str(view.svg)) for name, view in views.items()}
    left: set[str] = set()
    for name in sorted(sizes, key=lambda n: (-sizes[n], n)):
        if excess <= 0:
            break
        left.add(name)
        excess -= sizes[name]
    said = tuple(
        Omitted(f.study, f.name, f.title, f"too large for this page: see figures/{f.png}")
        for f in drawn.figures
        if f.name in left
    )
    kept = tuple(f for f in drawn.figures if f.name not in left)
    return Drawn(drawn.folder, kept, (*drawn.omitted, *said))


def _page(
    evidence: Evidence,
    frame: pd.DataFrame | None,
    observed: Mapping[Key, pd.DataFrame],
    drawn: Drawn,
    views: Mapping[str, FigureView],
    *,
    shortened: bool = False,
) -> str:
    studies = tuple(
        _study(matrix, evidence, observed, drawn, views) for matrix in tables.matrices(evidence)
    )
    script = _asset("report.js")
    tried = [cell for study in studies for view in study.claims for cell in view.tried]
    template = _environment().get_template("report.html.j2")
    return template.render(
        evidence=evidence,
        studies=studies,
        tally=tables.tally(evidence.results),
        findings=overview.counts(evidence.results),
        leads=overview.leads(tried),
        choices=overview.choices((study.matrix.study for study in studies), tried),
        readings=tables.readings(evidence.results),
        changes=tuple(cell for cell in tried if cell.changed),
        failed=tables.failed_models(evidence),
        attacked=attacked(c for s in studies for v in s.claims for c in v.tried),
        has_observations=frame is not None,
        shortened=shortened,
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        symbols=tables.SYMBOLS,
        reading_words=tables.READINGS,
    )


def _study(
    matrix: Matrix,
    evidence: Evidence,
    observed: Mapping[Key, pd.DataFrame],
    drawn: Drawn,
    views: Mapping[str, FigureView],
) -> StudyView:
    kinds = {m.id: m.facts.norm_kind for m in evidence.models if m.facts is not None}
    figures = [f for f in drawn.figures if f.study == matrix.study]
    claims = []
    for row in matrix.spoken:
        cells = tuple(
            make_cell(
                cell,
                row.claim,
                evidence,
                observed=observed,
                figures=_figures_of(cell, figures),
            )
            if cell is not None
            else None
            for cell in row.cells
        )
        anchor = f"claim-{tables.slug(row.claim.id, 80)}"
        claims.append(ClaimView(row.claim, anchor, _forest(row.claim, cells, matrix), cells))
    return StudyView(
        matrix=matrix,
        anchor=f"study-{tables.slug(matrix.study)}",
        heads=tuple(
            (c, kinds.get(c.model, ""), tables.column_label(c, matrix.columns))
            for c in matrix.columns
        ),
        claims=tuple(claims),
        figures=tuple(views[f.name] for f in figures),
        omitted=tuple(o for o in drawn.omitted if o.study == matrix.study),
    )


def _figures_of(result: Result, figures: Sequence[Rendered]) -> tuple[str, ...]:
    """Names of the figures that show a result: those it lists, else those of its data."""
    listed = [f.name for f in figures if any(name in f.name for name in result.figures if name)]
    slugs = [tables.slug(part, 60) for part in (result.prompts, result.arm) if part]
    same = [f.name for f in figures if f.name.split(".")[2:] in (slugs, [])]
    return tuple(listed or same)


def _forest(claim: ClaimReport, cells: Sequence[Cell | None], matrix: Matrix) -> Markup | str:
    lines = []
    for column, cell in zip(matrix.columns, cells, strict=True):
        if cell is None or cell.result.estimate is None or cell.result.estimate.value is None:
            continue
        label = " · ".join((cell.result.model, *tables.column_label(column, matrix.columns)))
        lines.append(Line(label, cell.result.estimate, state=cell.state, href=cell.anchor))
    if len(lines) < 2:
        return ""
    return number_line(lines, claim.region, unit=claim.unit, label=f"{claim.id} in every model")


def _figure(figure: Rendered, folder: Path) -> FigureView:
    from markupsafe import Markup

    name = tables.slug(figure.name, 120)
    label = f"{figure.title}: {figure.caption}"
    drawing = inline(folder / figure.svg, f"{name}-", label)
    source = pixels(folder / figure.png) if len(drawing) > FIGURE_LIMIT else ""
    if source and len(source) < len(drawing):
        shown = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(source, label)
    else:
        shown = Markup(drawing)  # noqa: S704 - reduced to drawing elements by `inline`
    return FigureView(f"figure-{name}", figure.title, figure.caption, figure.footer, shown)


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
