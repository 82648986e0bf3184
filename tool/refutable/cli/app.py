"""The command line: its commands lie in `refutable.cli.commands`, a file each."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer

from refutable.cli import commands
from refutable.cli.base import app, refuse
from refutable.errors import RefutableError, one_line
from refutable.system.discovery import load_modules
from refutable.system.garbage import look_as_usual, look_seldom

load_modules(commands)


def main() -> None:
    """Run the command line; whatever the user can mend is one line and exit code 2."""
    look_seldom()
    try:
        _run()
    finally:
        look_as_usual()


def _run() -> NoReturn:
    # `train` brings its own options; it is added only when asked for or listed.
    if len(sys.argv) < 2 or sys.argv[1] in ("train", "--help"):
        from refutable.cli.train import train_app

        app.add_typer(train_app, name="train")
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        raise SystemExit(130) from None
    except RefutableError as problem:
        refuse(one_line(problem))
    except Exception as problem:
        # What was typed wrong; the class is typer's own in new versions and click's in older ones.
        if not hasattr(problem, "format_message"):
            raise
        _refuse_usage(problem)
    raise SystemExit(code if isinstance(code, int) else 0)


def _refuse_usage(problem: Any) -> NoReturn:
    message = problem.format_message()
    if "\n" in message.strip():
        # A command without its arguments shows its help.
        typer.echo(message, err=True)
        raise SystemExit(2)
    context = getattr(problem, "ctx", None)
    more = f" (`{context.command_path} --help` says more)" if context is not None else ""
    refuse(message.replace("Value error, ", "") + more)
