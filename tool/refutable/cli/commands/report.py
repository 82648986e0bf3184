"""`refutable report`: make the reports of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.report import build


@app.command()
def report(
    evidence: Annotated[
        Path, typer.Argument(metavar="EVIDENCE", help="The evidence.json of a run.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write. [beside the evidence]"),
    ] = None,
) -> None:
    """Make the reports of a run again.

    Writes report.html, report.md, observations.csv and figures from evidence.json and the
    observations.parquet beside it; without the latter there are no figures.
    """
    for path in build(evidence, out):
        typer.echo(path)
