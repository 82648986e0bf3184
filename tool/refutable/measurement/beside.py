"""A worker that measures a model together with the process that the user started.

Threads of one pass wait for each other: with two of them the measuring of a model of 135 million
parameters took a fifth more processor time than with one. So where a model is to be measured at
length and there is a core and room for a second copy of it, a worker measures from the other end of
the list of pieces. Both write the same store.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from refutable.errors import RefutableError
from refutable.measurement.archive import ObservationArchive
from refutable.measurement.needs import ControlCopy, Plan
from refutable.measurement.room import is_streamed, needed, room
from refutable.measurement.runner import ModelRunner
from refutable.measurement.state import Settings, Sources, State
from refutable.measurement.units import Turns
from refutable.models.spec import ModelSource, ModelSpec
from refutable.observables.registry import REGISTRY
from refutable.records import ModelFacts, ModelReport
from refutable.run_records import MeasuringCost
from refutable.spec.prompts import PromptLibrary, PromptSet
from refutable.store.committed import committed_in
from refutable.store.store import Store
from refutable.system import worker
from refutable.system.paths import fixtures
from refutable.system.progress import silent

WORTH = 10_000_000
"""Parameters, each time that a pass over prompts is to be made, below which a worker is not worth
its start: it takes as long as twenty passes of a model of half a million."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker is told, on its standard input."""

    spec: ModelSpec
    facts: ModelFacts
    report: ModelReport
    config_digest: str
    sets: tuple[tuple[str, PromptSet], ...]
    wanted: tuple[tuple[str, str, ControlCopy | None, frozenset[str]], ...]
    settings: Settings
    store: Path
    turns: Path


@contextmanager
def measuring_beside(archive: ObservationArchive) -> Iterator[Turns | None]:
    """Let a worker measure with this process while a ``with`` block lasts, where that pays.

    Parameters
    ----------
    archive : ObservationArchive
        What is to be measured; the caller holds the lock of the model.
    """
    job = _job(archive)
    share = max(1, worker.cores() // 2)
    process = None
    if job is not None:
        env = {"OMP_NUM_THREADS": str(share)}
        process = worker.start(__name__, job, speaks=True, env=env)
    if job is None or process is None:
        yield None
        return
    turns = Turns(job.turns, first=True)
    stated = os.environ.get("OMP_NUM_THREADS")
    if stated is None:
        os.environ["OMP_NUM_THREADS"] = str(share)
        worker.set_threads(share)
    try:
        with threadpool_limits(share):
            yield turns
        turns.finish()
        # What it failed at this process has done itself.
        archive.state.costs += _costs(process.said())
    finally:
        process.end()
        turns.forget()
        if stated is None:
            os.environ.pop("OMP_NUM_THREADS", None)
            worker.set_threads(worker.cores())


def _costs(said: bytes | None) -> list[MeasuringCost]:
    with suppress(ValueError, TypeError):
        return [MeasuringCost(**one) for one in json.loads(said or b"[]")]
    return []


def _job(archive: ObservationArchive) -> Job | None:
    """Return what a worker is told, or ``None`` where it does not pay or cannot be."""
    state, settings = archive.state, archive.settings
    if (
        worker.cores() < 2
        or not settings.beside
        or settings.device != "cpu"
        or settings.device_map
        or state.loaded is not None
        or state.spec.source is ModelSource.TWIN
        or is_streamed(state, settings)
        or 2 * needed(state, settings) > room(settings)
        or _passes(archive) * state.facts.parameters < WORTH
    ):
        return None
    names = {name for by in archive.groups.values() for of in by.values() for name in of}
    # Observables of a suite's own are known to the process that has imported the suite.
    if any(REGISTRY[name].code for name in names):
        return None
    report = state.report
    folder = archive.store.root / "locks" / f"{report.weights_digest[:32]}-{os.getpid()}"
    return Job(
        state.spec,
        state.facts,
        report,
        state.config_digest,
        tuple((name, archive.prompts(name)) for name in {prompts for prompts, _ in archive.groups}),
        tuple(
            (prompts, arm, control, frozenset(of))
            for (prompts, arm), by_control in archive.groups.items()
            for control, of in by_control.items()
        ),
        settings,
        archive.store.root,
        folder,
    )


def _passes(archive: ObservationArchive) -> int:
    """How many passes over prompts are to be made, about: one a role, and one an experiment."""
    count = 0
    for (prompts, arm), by_control in archive.groups.items():
        for control, names in by_control.items():
            role = control.name if control else ""
            missing = [REGISTRY[n] for n in archive.missing(prompts, arm, role, names)]
            count += sum(item.experiment is not None for item in missing)
            count += any(item.recorder is not None for item in missing)
    return count


def run(job: Job) -> list[MeasuringCost]:
    """Measure what a job asks for and the other process is not at."""
    library = PromptLibrary(sets=dict(job.sets))
    sources = Sources(Store(job.store), committed_in(fixtures()), library, job.settings)
    state = State(job.spec, job.facts, job.report, job.config_digest)
    plan = Plan()
    for prompts, arm, control, names in job.wanted:
        plan.wanted[prompts, arm, control] = set(names)
    # What goes wrong here goes wrong in the other process, too, which tells it.
    with suppress(RefutableError):
        turns = Turns(job.turns, first=False)
        ModelRunner(ObservationArchive(sources, state, plan), silent, turns).run()
    return state.costs


if __name__ == "__main__":
    made = run(worker.receive())
    sys.stdout.write(json.dumps([asdict(cost) for cost in made]))
