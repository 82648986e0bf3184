"""Completing one model's plan: read what is stored, measure only what is missing."""

from __future__ import annotations

from dataclasses import replace

from refutable.errors import InstrumentError, NotAvailableError, RefutableError, one_line, told
from refutable.measurement.archive import ObservationArchive
from refutable.measurement.beside import measuring_beside
from refutable.measurement.room import is_streamed
from refutable.measurement.runner import ModelRunner
from refutable.measurement.state import State
from refutable.measurement.units import Turns
from refutable.models.sources.twin import measured_when_trained
from refutable.system.progress import Say


def complete(archive: ObservationArchive, say: Say) -> None:
    """Leave every planned array in the state; the model is loaded for what is missing."""
    state = archive.state
    try:
        origin = _origin(archive, say)
    except RefutableError:
        state.report = replace(state.report, checks=tuple(archive.checks))
        raise
    except OSError as problem:
        # Told once and in one line: the items that follow would only meet it again.
        raise InstrumentError(
            f"{state.facts.id}: cannot read or write what is measured: {one_line(problem)}: "
            f"free disk space (of {archive.store.root}), or name another folder with "
            "REFUTABLE_CACHE"
        ) from None
    except Exception as problem:
        raise InstrumentError(
            f"{state.facts.id}: measuring it failed: {told(problem)}"
        ) from problem
    if state.nbytes:
        # Arrays that were dropped from memory and are read again came from where they came.
        origin = state.report.origin
    state.report = replace(state.report, checks=tuple(archive.checks), origin=origin)


def _origin(archive: ObservationArchive, say: Say) -> str:
    """Complete the archive; say where its arrays came from."""
    state = archive.state
    if archive.read():
        archive.refuse_failed()
        if state.brought is not None:
            # Other processes of this run measured it.
            return "live"
        # What only training shows may be committed all the same.
        return "store" if state.weights_available else "committed"
    if not state.weights_available:
        raise NotAvailableError(archive.lacking())
    if measured_when_trained(state.spec):
        # Measured when it was trained, on these very weights: the default run stays short.
        archive.replay = True
        if archive.read():
            archive.refuse_failed()
            return "committed"
        archive.replay = False
    # Two workers may want the same model: the second waits and finds it done.
    with archive.store.locked(lock_of(state)):
        origin = "store"
        if not archive.read():
            origin = "live"
            archive.checks = []
            with measuring_beside(archive) as turns:
                _runner(archive, say, turns).run()
            if not archive.read():
                raise InstrumentError(
                    f"{state.facts.id}: the store did not keep what was measured: free disk "
                    "space or run `refutable cache --clear`"
                )
    archive.refuse_failed()
    return origin


def lock_of(state: State) -> str:
    """Name of the lock that whoever measures a model holds."""
    return state.report.weights_digest[:32]


def _runner(archive: ObservationArchive, say: Say, turns: Turns | None) -> ModelRunner:
    """Return what measures the model: whole in memory where it fits, else block by block."""
    if not is_streamed(archive.state, archive.settings):
        return ModelRunner(archive, say, turns)
    # Needs torch at once; a run that reads everything from the store does without.
    from refutable.measurement.streaming import StreamedRunner

    return StreamedRunner(archive, say)
