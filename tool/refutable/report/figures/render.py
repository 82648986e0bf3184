"""Figures on disk: PNG and SVG, drawn again only when what they show has changed.

``index.json`` beside the files remembers for each figure the hash of its data and drawing code, the
day its data were first drawn, and the files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refutable.report.figures import style
from refutable.report.figures.parallel import ParallelDrawing
from refutable.report.figures.registry import Spec
from refutable.system import files

INDEX = "index.json"
SCHEMA = "refutable.figures/1"
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


def render(specs: Sequence[Spec], folder: Path, date: str) -> tuple[Rendered, ...]:
    """Draw what has changed, keep what has not, and remove what is no longer drawn.

    Parameters
    ----------
    specs : sequence of Spec
        The figures of a run.
    folder : Path
        Where the files lie.
    date : str
        Day of the run, put on figures that are drawn now. A figure whose data are the same as
        before keeps the day its data were first drawn.

    Returns
    -------
    tuple of Rendered
        In the order of `specs`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = _index(folder)
    current = {
        spec.name
        for spec in specs
        if spec.name in known
        and known[spec.name]["digest"] == spec.digest
        and _whole(folder, spec.name)
    }
    left = [spec for spec in specs if spec.name not in current]
    with ParallelDrawing(left, folder, date) as second:
        drawn = {s.name: draw(s, folder, date) for s in left if s.name not in second.taken}
        finished = second.done()
    for spec in left:
        if spec.name in finished:
            drawn[spec.name] = _record(spec, _footer(spec, date), redrawn=True)
        elif spec.name not in drawn:
            drawn[spec.name] = draw(spec, folder, date)
    rendered = [
        drawn[spec.name]
        if spec.name in drawn
        else _record(spec, str(known[spec.name]["footer"]), redrawn=False)
        for spec in specs
    ]
    _remove(folder, set(known) - {spec.name for spec in specs})
    entries = {r.name: {k: v for k, v in asdict(r).items() if k != "redrawn"} for r in rendered}
    content = json.dumps({"schema": SCHEMA, "figures": entries}, indent=1) + "\n"
    files.write(folder / INDEX, content.encode())
    return tuple(rendered)


def _record(spec: Spec, footer: str, *, redrawn: bool) -> Rendered:
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


def _footer(spec: Spec, date: str) -> str:
    return f"{spec.footer} · data of {date}" if date else spec.footer


def draw(spec: Spec, folder: Path, date: str) -> Rendered:
    """Draw one figure into PNG and SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    footer = _footer(spec, date)
    with style.styled():
        figure = spec.draw(spec.table)
        FigureCanvasAgg(figure)
        style.finish(figure, spec.title, footer)
        # Higher levels of compression take three times as long for files a tenth smaller.
        png: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}}
        for kind, how in (("png", png), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, **how)
            # Arranging the panels takes longer than drawing them and needs doing only once.
            figure.set_layout_engine("none")
            files.write(folder / f"{spec.name}.{kind}", buffer.getvalue())
    return _record(spec, footer, redrawn=True)


def _index(folder: Path) -> Mapping[str, Any]:
    try:
        content = json.loads((folder / INDEX).read_text("utf-8"))
        if content["schema"] != SCHEMA:
            return {}
        entries = content["figures"].items()
        return {str(n): e for n, e in entries if {"digest", "footer"} <= set(e)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Without a readable index everything is drawn again, which is always right.
        return {}


def _whole(folder: Path, name: str) -> bool:
    return all((folder / f"{name}.{kind}").is_file() for kind in ("png", "svg"))


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        if Path(name).name == name:
            for kind in ("png", "svg"):
                (folder / f"{name}.{kind}").unlink(missing_ok=True)
