"""`refutable list` and `refutable show`: what there is, and what one claim states."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from refutable.cli import base
from refutable.cli.base import app
from refutable.cli.listing import card_of, table_of


class Catalogue(StrEnum):
    """What can be listed."""

    CLAIMS = "claims"
    MODELS = "models"
    PROMPTS = "prompts"
    OBSERVABLES = "observables"


@app.command("list")
def list_(what: Annotated[Catalogue, typer.Argument(metavar="WHAT")]) -> None:
    """List claims, models, prompts or observables."""
    base.show(table_of(what.value))


@app.command()
def show(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="Id of a bundled claim.")],
) -> None:
    """Show everything that one claim states."""
    base.show(card_of(claim))
