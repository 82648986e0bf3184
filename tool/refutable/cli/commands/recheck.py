"""`refutable verify-evidence`: a run checked without its model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.errors import EvidenceError, one_line
from refutable.gate.recheck import recheck_run


@app.command("verify-evidence")
def verify_evidence(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
) -> None:
    """Check a run's evidence without its model.

    Digests of what it left, and every estimate again from its observations. Exit code 0: all
    agree. 1: something does not. 3: it cannot be read, is not what the run wrote, or holds nothing
    that can be recomputed.
    """
    try:
        outcome = recheck_run(run)
    except EvidenceError as problem:
        typer.echo(f"cannot judge: {one_line(problem)}", err=True)
        raise typer.Exit(3) from None
    typer.echo("\n".join(outcome.lines()))
    raise typer.Exit(3 if outcome.vacuous else int(not outcome.agrees))
