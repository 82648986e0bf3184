"""What every command uses: the application, and how it prints and refuses."""

from __future__ import annotations

from typing import NoReturn

import typer

app = typer.Typer(
    help="Research claims about transformer internals as executable tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def show(renderable: object) -> None:
    """Print what rich can draw, at the width of the terminal."""
    from refutable.cli.listing import console

    console().print(renderable)


def refuse(message: str) -> NoReturn:
    """End with one line and exit code 2."""
    typer.echo("refutable: " + " ".join(message.split()), err=True)
    raise SystemExit(2)
