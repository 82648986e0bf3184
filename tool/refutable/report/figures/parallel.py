"""Draw figures in a worker: matplotlib keeps one core busy, and a run draws dozens."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from refutable.report.figures.draw import draw
from refutable.report.figures.registry import Spec
from refutable.system import worker

FEWEST = 8
"""Figures to draw below which a worker is not worth its start."""


class ParallelDrawing:
    """A worker that draws some of the figures.

    Parameters
    ----------
    specs : sequence of Spec
        All figures that are to be drawn.
    folder : Path
        Where the files lie.
    date : str
        Day of the run.

    Attributes
    ----------
    taken : frozenset of str
        Names of the figures that the worker draws.
    """

    def __init__(self, specs: Sequence[Spec], folder: Path, date: str) -> None:
        self.taken: frozenset[str] = frozenset()
        self._process: worker.WorkerProcess | None = None
        if len(specs) < FEWEST or worker.cores() < 2:
            return
        # Every other one: figures of one study, which are alike, follow each other.
        given_away = [spec for spec in specs[1::2] if _travels(spec)]
        job = (given_away, str(folder), date)
        self._process = worker.start(__name__, job, speaks=True)
        if self._process is not None:
            self.taken = frozenset(spec.name for spec in given_away)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.end()

    def done(self) -> frozenset[str]:
        """Wait, and return the names of the figures that were drawn; the others are left."""
        said = None if self._process is None else self._process.said()
        self._process = None
        if said is not None:
            with suppress(ValueError):
                return frozenset(map(str, json.loads(said)))
        return frozenset()


def _travels(spec: Spec) -> bool:
    """Whether a figure can be handed to another process; one with a local function cannot."""
    try:
        pickle.dumps(spec.draw)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def run() -> None:
    """Draw what standard input asks for, and say on standard output what was drawn."""
    specs, folder, date = worker.receive()
    names = []
    for spec in specs:
        draw(spec, Path(folder), date)
        names.append(spec.name)
    sys.stdout.write(json.dumps(names))


if __name__ == "__main__":
    run()
