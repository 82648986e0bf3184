"""`refutable observe-twins`: the committed observations of trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app


@app.command("observe-twins")
def observe_twins_command(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    tag: Annotated[
        str,
        typer.Option(metavar="TAG", help="Which twins: twin (the norms), thoughts or no-position."),
    ] = "twin",
    copies: Annotated[
        bool,
        typer.Option(
            "--copies", help="Add untrained copies of the shipped models alone; keep all else."
        ),
    ] = False,
) -> None:
    """Measure the twins of all seeds into one file.

    For this project's own fixtures/twins/observations.safetensors, after `refutable train twins`,
    and with --tag thoughts fixtures/thoughts/observations.safetensors, after `train thoughts`.
    With --copies --tag no-position fixtures/noposition/observations.safetensors.
    """
    from refutable.cli.commit import observe_copies, observe_twins

    number = (observe_copies if copies else observe_twins)(out, typer.echo, tag)
    typer.echo(f"{out}: {number} models, {out.stat().st_size / 1e6:.1f} MB")
