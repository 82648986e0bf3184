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

    And what not, and why.
    """
    from refutable.cli import architectures
    from refutable.models.small import causal_types

    types = list(causal_types() if every else architecture or ())
    if not (types or model):
        refuse("give a model, --architecture TYPE or --all")
    surveys = [architectures.survey_of_model(model)] if model else []
    for one in architectures.surveyed(types, lambda name: None):
        surveys.append(one)
        if not write:
            typer.echo("\n".join(architectures.told(one)))
    if model and not write:
        typer.echo("\n".join(architectures.told(surveys[0])))
    if write:
        good = architectures.write_table(surveys, write)
        typer.echo(f"{good} of {len(surveys)} types can be measured: {write}")
    elif all(one.error for one in surveys):
        raise typer.Exit(1)
