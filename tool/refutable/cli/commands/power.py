"""`refutable power`: what a claim can decide, before it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli import base
from refutable.cli.base import app
from refutable.cli.power import power_table
from refutable.errors import RefutableError, one_line
from refutable.studies.catalogue import find_claim


@app.command()
def power(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="Id of a bundled claim.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Whose spread an earlier run measured.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Prompt set. [the claim's, or battery]")
    ] = None,
    evidence: Annotated[
        Path, typer.Option(metavar="FILE", help="Evidence of an earlier run.")
    ] = Path("reports/latest/evidence.json"),
) -> None:
    """Say which differences a claim can decide.

    And which margin of sameness it can show.
    """
    try:
        known = find_claim(claim)
        base.show(power_table(known, model=model, prompts=prompts, evidence=evidence))
    except RefutableError as problem:
        base.refuse(one_line(problem))
