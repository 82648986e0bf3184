"""One figure, drawn into PNG and SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.report import text
from refutable.report.figures import style
from refutable.report.figures.registry import Spec
from refutable.system import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160


@dataclass(frozen=True, slots=True)
class Rendered:
    """A figure on disk."""

    study: str
    name: str
    title: str
    caption: str
    footer: str
    digest: str
    png: str
    svg: str
    redrawn: bool = True


def recorded(spec: Spec, footer: str, *, redrawn: bool) -> Rendered:
    """Return what is known of a figure that lies on disk."""
    return Rendered(
        spec.study,
        spec.name,
        spec.title,
        spec.caption,
        footer,
        spec.digest,
        f"{spec.name}.png",
        f"{spec.name}.svg",
        redrawn,
    )


def footer_of(spec: Spec, date: str) -> str:
    """Return the line under a figure, with the day of its data."""
    return f"{spec.footer} · data of {date}" if date else spec.footer


def _arrange(figure: Figure) -> None:
    """Arrange the panels, once for both files; saving would draw a figure once more to do it."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    figure.set_dpi(DPI)
    engine.execute(figure)
    figure.set_layout_engine(None)


def draw(spec: Spec, folder: Path, date: str) -> Rendered:
    """Draw one figure into PNG and SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    footer = footer_of(spec, date)
    with style.styled():
        figure = spec.draw(spec.table)
        FigureCanvasAgg(figure)
        style.finish(figure, spec.title, footer, spec.caption)
        _arrange(figure)
        # Higher levels of compression take three times as long for files a tenth smaller.
        said = {
            "Title": text.visible(spec.title),
            "Description": text.visible(f"{spec.caption} {footer}", 4000),
        }
        png: dict[str, object] = {"pil_kwargs": {"compress_level": 3}, "metadata": said}
        for kind, how in (("png", png), ("svg", {"metadata": {"Date": None, **said}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, **how)
            files.write(folder / f"{spec.name}.{kind}", buffer.getvalue())
    return recorded(spec, footer, redrawn=True)
