"""Who measures models besides the process that the user started.

`refutable.measurement.prefetch` is a worker on this machine, `RemoteEngine` a pool of
workers on other machines. A run asks both the same two things: to bring what they measured of a
model before it is tested, and to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

from refutable.errors import RefutableError
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Need
from refutable.measurement.part import MeasuredPart, Part
from refutable.measurement.remote import accept, parts_of
from refutable.report.text import duration
from refutable.spec.claim_files import file_of
from refutable.store.store import library_versions

Handle = TypeVar("Handle")
Tell = Callable[[str], None]


class Engine(Protocol):
    """What measures models for a run."""

    def bring(self, model: str) -> None:
        """See to it that what is measured of a model elsewhere can be read here."""

    def end(self) -> None:
        """Stop; more than once does no harm."""


class Pool(Protocol[Handle]):
    """Workers that measure parts in whatever order, and lose none silently."""

    def submit(self, part: Part) -> Handle:
        """Hand a part over; it is measured again elsewhere where a worker is lost with it."""

    def wait(self, handles: list[Handle]) -> tuple[Handle, MeasuredPart]:
        """Wait until one of some parts is done, and return it."""

    def close(self) -> None:
        """Drop what is not done."""


class RemoteEngine(Engine):
    """Hands every part of a run to a pool at once, and takes results as they are needed.

    Parameters
    ----------
    harness : Harness
        Of the run; its store is written here and nowhere else.
    pool : Pool
        The workers.
    tell : callable
        Told in a line when all of a model is measured.
    """

    def __init__(self, harness: Harness, pool: Pool[Handle], tell: Tell) -> None:
        self._harness = harness
        self._pool = pool
        self._tell = tell
        self._waiting: dict[Handle, Part] = {}
        self._took: dict[str, list[MeasuredPart]] = {}
        self._left: Counter[str] = Counter()

    def start(self, needs: Iterable[Need]) -> None:
        """Hand over all that a run asks for and the store lacks."""
        files: dict[str, dict[str, None]] = {}
        for need in needs:
            of_model = files.setdefault(need.model, {})
            if (file := file_of(need.claim)) is not None:
                of_model[str(file)] = None
        for model, of_model in files.items():
            try:
                parts = parts_of(self._harness, model, of_model)
            except RefutableError:
                # Its own items say what is wrong.
                continue
            for part in parts:
                self._waiting[self._pool.submit(part)] = part
                self._left[model] += 1
                self._took[model] = []

    def bring(self, model: str) -> None:
        """Wait for what is not yet measured of a model; what others get done meanwhile is kept."""
        while self._left[model]:
            handle, part = self._pool.wait(list(self._waiting))
            self._take(self._waiting.pop(handle), part)

    def end(self) -> None:
        """Drop what is not done and leave the pool."""
        self._waiting.clear()
        self._left.clear()
        self._pool.close()

    def _take(self, part: Part, measured: MeasuredPart) -> None:
        here = library_versions()
        error = measured.error
        if error and part.model not in error:
            error = f"{part.model}: {error}"
        if not error and measured.versions != here:
            error = (
                f"{part.model} was measured with torch {measured.versions[0]} and transformers "
                f"{measured.versions[1]} on {measured.where}, and this process has {here[0]} and "
                f"{here[1]}: install the same versions everywhere"
            )
        accept(self._harness, part.model, replace(measured, error=error))
        self._took[part.model].append(measured)
        self._left[part.model] -= 1
        if not self._left[part.model]:
            self._tell(self._line(part.model))

    def _line(self, model: str) -> str:
        took = self._took[model]
        done = sum(bool(parts) and not self._left[name] for name, parts in self._took.items())
        failed = " (failed)" if any(part.error for part in took) else ""
        seconds = sum(part.seconds for part in took)
        count, hosts = len(took), len({part.where for part in took})
        return (
            f"{model}: {count} {'task' if count == 1 else 'tasks'}, {duration(seconds)} on "
            f"{hosts} {'worker' if hosts == 1 else 'workers'}{failed}; "
            f"{done} of {len(self._took)} models"
        )
