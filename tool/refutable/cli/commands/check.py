"""`refutable check`: what can be measured of an architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app, refuse


@app.command()
def check(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Registry name, hub id or folder: a small copy is made from its config alone.",
        ),
    ] = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="A model type of transformers; repeatable."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every type that has a causal language model.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table to a file.")
    ] = None,
) -> None:
    """Say what can be measured of an architecture.

    And what not, and why. With --write a run that was stopped goes on where it was.
    """
    from refutable.cli import architectures
    from refutable.models.small import causal_types
    from refutable.system.progress import progress

    types = list(causal_types() if every else architecture or ())
    if not (types or model):
        refuse("give a model, --architecture TYPE or --all")
    surveys = [architectures.survey_of_model(model)] if model else []
    if write:
        rows = write.with_name(write.name + ".rows")
        if rows.exists():
            typer.echo(f"going on from {rows}: delete it to look at every type again", err=True)
        with progress("types looked at", len(types)) as advance:
            looks = architectures.surveyed_into(rows, types, lambda name: None)
            for done, one in enumerate(looks, 1):
                surveys.append(one)
                advance(done, one.model_type)
        good = architectures.write_table(surveys, write)
        rows.unlink()
        typer.echo(f"{good} of {len(surveys)} types can be measured: {write}")
        return
    for one in surveys:
        typer.echo("\n".join(architectures.told(one)))
    for one in architectures.surveyed(types, lambda name: None):
        surveys.append(one)
        typer.echo("\n".join(architectures.told(one)))
    if all(one.error for one in surveys):
        raise typer.Exit(1)
