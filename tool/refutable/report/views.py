"""What the page shows, study by study, as plain values: made once, laid out by the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.records import ClaimReport, Evidence, Result
from refutable.report import overview, tables
from refutable.report.cells import Cell, Key, make_cell
from refutable.report.charts import Line, number_line
from refutable.report.figures.inline import inline, pixels
from refutable.report.figures.registry import Omitted
from refutable.report.tables import Matrix

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from refutable.report.figures.draw import Rendered


FIGURE_LIMIT = 60_000
"""Characters of a drawing past which a figure becomes an image in the page, if that is smaller."""

_COLUMNS = 4
"""Columns that fit a sheet of paper."""


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

    name: str
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
    def layout(self) -> str:
        """``sparse`` where most columns are empty in most rows, ``wide`` where paper is too small.

        Of both, the cells of a claim stand beside it, each with its own heading.
        """
        if self.matrix.sparse:
            return "sparse"
        return "wide" if len(self.heads) > _COLUMNS else ""

    @property
    def file(self) -> str:
        """Name of its own page."""
        return f"{tables.slug(self.matrix.study)}.html"

    @property
    def counts(self) -> str:
        """What its claims come to, in words."""
        return self.block.counts

    @property
    def block(self) -> overview.Block:
        """Its part of the first screen."""
        heads = [(c.model, " · ".join(filter(None, (k, *more)))) for c, k, more in self.heads]
        claims = [(view.claim.ref, view.cells) for view in self.claims]
        return overview.block(self.matrix.study, self.anchor, heads, claims)


def study_view(
    matrix: Matrix,
    evidence: Evidence,
    observed: Mapping[Key, pd.DataFrame],
    drawn: Drawn,
    views: Mapping[str, FigureView],
) -> StudyView:
    """Gather what the page shows of one study.

    Parameters
    ----------
    matrix : Matrix
        Its claims against what they were tried on.
    evidence : Evidence
        The run.
    observed : mapping
        What the bodies returned, by claim, prompts and arm.
    drawn : Drawn
        Figures of the run, and those that were left out.
    views : mapping of str to FigureView
        The figures as the page shows them, by name.
    """
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
        figures=tuple(views[f.name] for f in figures if f.name in views),
        omitted=tuple(o for o in drawn.omitted if o.study == matrix.study),
    )


def _figures_of(result: Result, figures: Sequence[Rendered]) -> tuple[str, ...]:
    """Names of the figures that show a result: those of its data."""
    slugs = [tables.slug(part, 60) for part in (result.prompts, result.arm) if part]
    return tuple(f.name for f in figures if f.name.split(".")[2:] in (slugs, []))


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


def figure_view(figure: Rendered, folder: Path) -> FigureView:
    """Read a figure from disk: as a drawing, or as an image where that is much smaller."""
    from markupsafe import Markup

    name = tables.slug(figure.name, 120)
    label = f"{figure.title}: {figure.caption}"
    drawing = inline(folder / figure.svg, f"{name}-", label)
    source = pixels(folder / figure.png) if len(drawing) > FIGURE_LIMIT else ""
    if source and len(source) < len(drawing):
        shown = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(source, label)
    else:
        shown = Markup(drawing)  # noqa: S704 - reduced to drawing elements by `inline`
    return FigureView(
        figure.name, f"figure-{name}", figure.title, figure.caption, figure.footer, shown
    )
