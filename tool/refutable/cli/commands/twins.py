"""`refutable observe-twins`: the committed observations of trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.errors import RefutableError


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
    add: Annotated[
        bool,
        typer.Option("--add", help="Measure only the twins that the file lacks; keep all else."),
    ] = False,
) -> None:
    """Measure the twins of all seeds into one file.

    For this project's own fixtures/twins/observations.safetensors, after `refutable train twins`,
    and with --tag thoughts fixtures/thoughts/observations.safetensors, after `train thoughts`.
    With --copies --tag no-position fixtures/noposition/observations.safetensors. A variant or a
    seed of one's own, with its entries in fixtures/models.toml, joins the file with --add.
    """
    from refutable.cli.commit import observe_copies, observe_twins

    if copies and add:
        raise RefutableError("expected --copies or --add, got both")
    number = (
        observe_copies(out, typer.echo, tag)
        if copies
        else observe_twins(out, typer.echo, tag, add=add)
    )
    typer.echo(f"{out}: {number} models, {out.stat().st_size / 1e6:.1f} MB")
