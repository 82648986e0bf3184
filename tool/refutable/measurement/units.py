"""Pieces of the work on one model, which two processes share without a plan of who does what.

Each takes the next piece that the other is not at: one from the front of the list, one from its
end. A piece looks into the store for what is missing, so that one that is done costs nothing.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work; it may be called again and then does only what is still missing."""

    name: str
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Turns:
    """Locks of the operating system, one a piece; a killed process leaves none behind.

    Parameters
    ----------
    folder : Path
        Of this work alone; who began it takes it away.
    first : bool
        Whether this process began the work: it takes pieces from the front and, when no piece is
        free, waits for the other one.
    """

    folder: Path
    first: bool

    @contextmanager
    def free(self, name: str) -> Iterator[bool]:
        """Hold a piece while a ``with`` block lasts, if the other process is not at it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._file(name), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def wait(self, name: str) -> None:
        """Wait until the other process is no longer at a piece."""
        from filelock import FileLock

        with FileLock(self._file(name)):
            return

    def finish(self) -> None:
        """Tell the worker that nothing is left to wait for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _FINISHED).touch()

    @property
    def finished(self) -> bool:
        """Whether all is done, so that what a worker waits for will not come."""
        return (self.folder / _FINISHED).exists()

    def forget(self) -> None:
        """Take the locks away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"


def work_through(units: Sequence[Unit], turns: Turns | None) -> None:
    """Do all pieces; with a worker, those that it does not do.

    Parameters
    ----------
    units : sequence of Unit
        In an order that is good for a process that does them all.
    turns : Turns or None
        Shared with the worker, if there is one.
    """
    if turns is None:
        for unit in units:
            unit.do()
        return
    left = []
    for unit in units if turns.first else reversed(units):
        with turns.free(unit.name) as taken:
            if taken:
                unit.do()
            else:
                left.append(unit)
    for unit in left if turns.first else ():
        turns.wait(unit.name)
        unit.do()
