"""Everything a reader gets from a run: HTML, Markdown, CSV and figures, from two files alone."""

from __future__ import annotations

import os
from pathlib import Path

from refutable.evidence import json as evidence_json
from refutable.evidence.observations import read_observations, write_csv
from refutable.report import html, markdown
from refutable.report.figures.registry import figures_for
from refutable.report.figures.render import render
from refutable.system import files
from refutable.system.paths import writable

OBSERVATIONS = "observations.parquet"


def build(
    evidence_path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    figures: bool = True,
) -> list[Path]:
    """Write the reports of a run.

    Parameters
    ----------
    evidence_path : path
        An ``evidence.json``; ``observations.parquet`` beside it is used when it is there.
    out_dir : path, optional
        Where to write; beside the evidence by default.
    figures : bool
        Whether to draw figures.

    Returns
    -------
    list of Path
        The files written or kept: ``report.html``, in ``report/`` a page for each study where the
        first would be too large, ``report.md``, ``observations.csv`` and, in ``figures/``, a PNG
        and an SVG of each figure.

    Raises
    ------
    EvidenceError
        One line, when a file is unreadable, truncated or of another schema.
    RefutableError
        If the folder cannot be written to.
    """
    source = Path(evidence_path)
    folder = Path(out_dir) if out_dir is not None else source.parent
    evidence = evidence_json.read(source)
    writable(folder)
    parquet = source.parent / OBSERVATIONS
    frame = read_observations(parquet) if parquet.is_file() else None
    drawn = html.Drawn(folder / "figures")
    if frame is not None and figures:
        specs, omitted = figures_for(evidence, frame)
        rendered = render(specs, drawn.folder, evidence.environment.started[:10])
        drawn = html.Drawn(drawn.folder, rendered, omitted)
    written: list[Path] = []
    pages = html.pages(evidence, frame, drawn)
    for old in (folder / html.FOLDER).glob("*.html"):
        if f"{html.FOLDER}/{old.name}" not in pages:
            old.unlink()
    for name, content in (*pages.items(), ("report.md", markdown.render(evidence))):
        files.write(folder / name, content.encode("utf-8", "backslashreplace"))
        written.append(folder / name)
    if frame is not None:
        write_csv(parquet, folder / "observations.csv")
        written.append(folder / "observations.csv")
    for figure in drawn.figures:
        written += [drawn.folder / figure.png, drawn.folder / figure.svg]
    return written
