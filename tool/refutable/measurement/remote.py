"""A part of a run's measuring that any process can do: what it is told, and what it hands back.

A part is one model on one set of prompts in one arm, with its null controls. Who measures it keeps
nothing: arrays, reasons and checks go back as the files that they would have been in a store, and
only the process that the user started writes that store.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from refutable.errors import RefutableError, told
from refutable.measurement.archive import ObservationArchive
from refutable.measurement.completion import complete
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Plan
from refutable.measurement.part import MeasuredPart, Part
from refutable.measurement.room import is_streamed, needed, room
from refutable.measurement.state import Brought
from refutable.models.sources.twin import measured_when_trained
from refutable.observables.registry import REGISTRY
from refutable.spec.claim_files import claims_of_file
from refutable.spec.prompts import PromptLibrary
from refutable.store.store import Store, library_versions
from refutable.system.progress import silent


def parts_of(harness: Harness, model: str, files: Iterable[str] = ()) -> list[Part]:
    """Return what is still to be measured of a model, in parts that do not touch each other.

    Parameters
    ----------
    harness : Harness
        Of the run, with its plan made.
    model : str
        Id of the model.
    files : iterable of str
        Files of the claims that ask.

    Raises
    ------
    RefutableError
        If the model cannot be found or read.
    """
    state, settings = harness.state(model), harness.sources.settings
    if not state.weights_available:
        return []
    archive = harness.archive(model)
    archive.replay = measured_when_trained(state.spec)
    # Which way a model is measured is part of its keys, so it is decided here once.
    # A worker of a pool is told how many cores it has; it starts no process of its own.
    device = settings.device.split(":")[0]
    settings = replace(settings, memory=room(settings), device=device, beside=False)
    taken: set[tuple[str, str]] = set()
    memory = needed(state, settings)
    if is_streamed(state, settings):
        memory = min(memory, settings.memory)
    parts = []
    for (prompts, arm), by_control in archive.groups.items():
        wanted = []
        waiting = False
        for control, names in by_control.items():
            role = control.name if control else ""
            # What has no prompts is measured once, in the first part that asks for it.
            of_part = {n for n in names if REGISTRY[n].per_prompt or (role, n) not in taken}
            taken |= {(role, n) for n in of_part}
            waiting |= bool(archive.missing(prompts, arm, role, of_part))
            wanted.append((control, frozenset(of_part)))
        if waiting:
            named = (prompts, harness.sources.prompts(prompts))
            parts.append(
                Part(
                    model,
                    harness.name_of(model),
                    named,
                    arm,
                    tuple(wanted),
                    settings,
                    tuple(files),
                    memory,
                )
            )
    return parts


def accept(harness: Harness, model: str, measured: MeasuredPart) -> None:
    """Store what another process measured of a model, or take it that it cannot be measured."""
    state = harness.state(model)
    harness.sources.store.take(measured.files)
    brought = state.brought or Brought()
    brought.unavailable.update(measured.brought.unavailable)
    brought.failed.update(measured.brought.failed)
    state.brought = brought
    state.costs += measured.costs
    if measured.error and not state.error:
        state.error = measured.error
        state.report = replace(state.report, error=measured.error, checks=measured.checks)


def measure_part(part: Part) -> MeasuredPart:
    """Measure a part in a store that is thrown away; whatever goes wrong is told, not raised."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="refutable-") as folder:
        store = Store(folder)
        try:
            measured = _measured(part, store)
        except RefutableError as problem:
            measured = MeasuredPart(error=str(problem))
        except Exception as problem:
            measured = MeasuredPart(error=f"{part.model}: measuring it failed: {told(problem)}")
        return replace(
            measured,
            files={} if measured.error else store.export(),
            versions=library_versions(),
            seconds=time.perf_counter() - started,
            where=f"{socket.gethostname()}:{os.getpid()}",
        )


def _measured(part: Part, store: Store) -> MeasuredPart:
    for file in part.files:
        # A file that is not here may hold nothing that is needed; else its observable is missed.
        with suppress(RefutableError, OSError):
            claims_of_file(Path(file))
    name, prompts = part.prompts
    library = PromptLibrary(sets={name: prompts})
    models = {part.model: part.name}
    harness = open_harness(library, part.settings, models=models, store=store)
    plan = Plan()
    for control, names in part.wanted:
        plan.wanted[name, part.arm, control] |= names
    state = harness.state(part.model)
    archive = ObservationArchive(harness.sources, state, plan)
    error = ""
    try:
        complete(archive, silent)
    except RefutableError as problem:
        error = str(problem)
    return MeasuredPart(
        brought=Brought(dict(state.unavailable), dict(state.failed)),
        checks=tuple(archive.checks),
        costs=tuple(state.costs),
        error=error,
    )
