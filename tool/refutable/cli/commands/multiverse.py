"""`refutable multiverse`: a claim under everything that could have been chosen otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli import base
from refutable.cli.base import app
from refutable.errors import RefutableError, one_line


@app.command()
def multiverse(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="Id of a bundled claim.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Not for a claim about several models.")
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="Further prompt set; repeatable. [five-registers]"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="What is found goes here.")] = Path(
        "reports/multiverse"
    ),
) -> None:
    """Test a claim under every choice that was free.

    Both arms, float32 and bfloat16, prompt sets, last token or all tokens and training seeds are
    crossed, as far as the claim has them. FOLDER/multiverse.json holds each specification with
    estimate and verdict, multiverse.png the specification curve. Specifications share a model and
    most prompts, so the share that agrees is no probability.
    """
    from refutable.cli import multiverse as curve

    try:
        specifications, paths = curve.tested_and_drawn(
            claim, model, prompts or (), out, lambda line: typer.echo(line, err=True)
        )
    except RefutableError as problem:
        base.refuse(one_line(problem))
    base.show(curve.table(specifications))
    for dimension, reason in specifications.absent.items():
        typer.echo(f"no choice of {dimension}: {reason}")
    for line in curve.untested(specifications):
        typer.echo(line)
    typer.echo(curve.caption(specifications))
    typer.echo("  ".join(map(str, paths)))
