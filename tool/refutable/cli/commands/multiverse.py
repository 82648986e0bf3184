"""`refutable multiverse`: a claim under everything that could have been chosen otherwise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refutable.cli import base
from refutable.cli.base import app
from refutable.errors import RefutableError, one_line

if TYPE_CHECKING:
    from rich.table import Table

    from refutable.evaluation.multiverse import Multiverse


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
    from refutable.evaluation.multiverse import multiverse as tested
    from refutable.report.figures import style
    from refutable.report.multiverse import draw_curve, write_curve
    from refutable.spec.prompts import PromptLibrary
    from refutable.studies.catalogue import bundled_claims, find_claim
    from refutable.system.paths import fixtures, writable

    try:
        writable(out, "name another folder with --out")
        found = tested(
            find_claim(claim), model, list(bundled_claims()), PromptLibrary([fixtures()]),
            prompts=prompts or (), say=lambda line: typer.echo(line, err=True),
        )  # fmt: skip
        with style.styled():
            figure = draw_curve(
                found.tested, found.own, found.dimensions, region=found.region, unit=found.unit
            )
            style.finish(figure, f"{found.claim}: specification curve", caption(found))
            agree, of_all = found.agreement()
            record = {**asdict(found), "agree": agree, "tested": of_all}
            paths = write_curve(record, figure, out)
    except RefutableError as problem:
        base.refuse(one_line(problem))
    base.show(table(found))
    for dimension, reason in found.absent.items():
        typer.echo(f"no choice of {dimension}: {reason}")
    for line in untested(found):
        typer.echo(line)
    typer.echo(caption(found))
    typer.echo("  ".join(map(str, paths)))


def caption(found: Multiverse) -> str:
    """Say in a sentence how many specifications agree."""
    agree, of_all = found.agreement()
    verdict = found.own.verdict.value if found.own.verdict else ""
    return (
        f"{agree} of {of_all} specifications ({agree / of_all:.0%}) are {verdict}, as the claim's "
        f"own (diamond): {found.predicted}. They share a model and most prompts."
    )


def table(found: Multiverse) -> Table:
    """Return agreement and the range of estimates for each option."""
    from refutable.cli.listing import make_table
    from refutable.system import wording

    made = make_table("choice", "agree", "estimates")
    for dimension, options in found.dimensions.items():
        for option in options if len(options) > 1 else ():
            among = [s for s in found.tested if s.option(dimension) == option]
            agree, of_all = found.agreement(among)
            values = [
                s.estimate.value for s in among if s.estimate and s.estimate.value is not None
            ]
            ends = wording.ends(min(values), max(values), sign=True) if values else "none"
            made.add_row(f"{dimension}: {option}", f"{agree} of {of_all}", ends)
    return made


def untested(found: Multiverse) -> list[str]:
    """Say of each model how many specifications gave no verdict, with the first reason."""
    left: dict[str, list[str]] = {}
    for spec in found.specifications:
        if spec.verdict is None:
            left.setdefault(spec.model, []).append(spec.reason)
    return [f"{model}: {len(why)} not tested: {why[0]}" for model, why in left.items()]
