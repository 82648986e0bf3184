"""`refutable gate`: what a new release changed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app


class GateFormat(StrEnum):
    """How the gate prints."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    GITHUB = "github"


@app.command()
def gate(
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="evidence.json of the release before.")
    ],
    candidate: Annotated[
        Path, typer.Argument(metavar="CANDIDATE", help="evidence.json of the new release.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Require SAME of every claim.")] = False,
    format: Annotated[
        GateFormat, typer.Option(metavar="FORMAT", help="text, markdown, json or github.")
    ] = GateFormat.TEXT,
) -> None:
    """Say what a new release changed.

    Exit code 0: nothing changed. 1: something changed, is lost or failed. 2: what was typed makes
    no sense. 3: it cannot be judged.
    """
    from refutable.gate.compare import run_gate

    text, code = run_gate(base, candidate, strict=strict, format=format.value)
    typer.echo(text, err=code == 3)
    raise typer.Exit(code)
