"""`refutable init` and `refutable claims new`: a suite of one's own, and a claim in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.cli.suite.layout import lay_out, settings
from refutable.cli.suite.words import WORDS, claim_text
from refutable.errors import ClaimError, RefutableError
from refutable.system.files import write
from refutable.system.paths import writable

claims_app = typer.Typer(help="Claims of your own.", no_args_is_help=True)
app.add_typer(claims_app, name="claims")


@claims_app.callback()
def _group() -> None:
    """Claims of your own."""


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to; made when missing.")
    ] = Path(),
) -> None:
    """Lay out a suite of your own, ready to run.

    A claim on the embedded models, prompts, settings, a workflow for CI; the word CHANGE marks
    what to make yours. What
    is there already is left as it is.
    """
    written, kept = lay_out(folder)
    for name in written:
        typer.echo(f"wrote {folder / name}")
    for name in kept:
        typer.echo(f"left {folder / name} as it is")
    if "pyproject.toml" in kept:
        typer.echo("add to your pyproject.toml:\n\n" + settings())
    where = "" if folder == Path() else f"cd {folder} && "
    typer.echo(f"run it: {where}pytest    change it: grep -rn CHANGE {folder}")


@claims_app.command("new")
def new(
    word: Annotated[str, typer.Argument(metavar="WORD", help=f"One of {', '.join(WORDS)}.")],
    claim_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Id of the claim, PREFIX.SLUG.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Test file. [claims/test_SLUG.py]"),
    ] = None,
) -> None:
    """Write a claim to begin with, for one word of the vocabulary of predictions."""
    claim_id = claim_id or f"mine.{word.replace('_', '-')}"
    if not re.fullmatch(r"[a-z][a-z0-9]*\.[a-z0-9]+(-[a-z0-9]+)*", claim_id):
        raise ClaimError(f"expected --id like 'mine.last-block-grows', got {claim_id!r}")
    slug = claim_id.partition(".")[2].replace("-", "_")
    text = claim_text(word, claim_id, f"test_{slug}")
    path = out or Path("claims") / f"test_{slug}.py"
    if path.exists():
        raise RefutableError(f"{path} is there already: name another file with --out")
    writable(path.parent)
    write(path, text)
    typer.echo(f"wrote {path}    run it: pytest {path}")
