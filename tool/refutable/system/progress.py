"""Progress of long work: a bar in a terminal, a plain line every tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

Advance = Callable[[int, str], None]


class Say(Protocol):
    """Told in one line what long work begins, and how far it has come where that is known."""

    def __call__(self, line: str, /, *, done: int = 0, of: int = 0) -> None:
        """Take a line; `done` of `of` equal steps of this piece of work lie behind it."""


def silent(line: str, /, *, done: int = 0, of: int = 0) -> None:
    """Say nothing."""


@contextmanager
def progress(label: str, total: int, *, show: bool = True) -> Iterator[Advance]:
    """Show how far a piece of work has come, on standard error.

    Parameters
    ----------
    label
        What is being done.
    total
        How many steps the work has.
    show
        Whether to show anything.

    Yields
    ------
    callable
        Call it with the number of steps done so far and a short note ("loss 4.06").
    """
    if not show:
        yield lambda done, note: None
    elif sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _lines(label, total, sys.stderr)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(label: str, total: int, stream: TextIO) -> Advance:
    """Return a function that writes a line for each tenth of the work done."""
    started = time.monotonic()
    written = 0

    def advance(done: int, note: str) -> None:
        nonlocal written
        tenth = 10 * done // max(total, 1)
        if tenth > written:
            written = tenth
            seconds = time.monotonic() - started
            print(f"{label}: {done}/{total} {note} ({seconds:.0f} s)", file=stream, flush=True)

    return advance
