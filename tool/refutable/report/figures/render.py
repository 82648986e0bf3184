"""Figures on disk: PNG and SVG, drawn again only when what they show has changed.

``index.json`` beside the files remembers for each figure the hash of its data and drawing code, the
day its data were first drawn, and the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refutable.report.figures.draw import Rendered, draw, footer_of, recorded
from refutable.report.figures.parallel import ParallelDrawing
from refutable.report.figures.registry import Spec
from refutable.system import files

INDEX = "index.json"
SCHEMA = "refutable.figures/1"


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
            drawn[spec.name] = recorded(spec, footer_of(spec, date), redrawn=True)
        elif spec.name not in drawn:
            drawn[spec.name] = draw(spec, folder, date)
    rendered = [
        drawn[spec.name]
        if spec.name in drawn
        else recorded(spec, str(known[spec.name]["footer"]), redrawn=False)
        for spec in specs
    ]
    _remove(folder, set(known) - {spec.name for spec in specs})
    entries = {r.name: {k: v for k, v in asdict(r).items() if k != "redrawn"} for r in rendered}
    content = json.dumps({"schema": SCHEMA, "figures": entries}, indent=1) + "\n"
    files.write(folder / INDEX, content.encode())
    return tuple(rendered)


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
