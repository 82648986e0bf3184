"""Measure small models before the run comes to them, in a worker.

The passes of a model of half a million parameters keep one core busy, with Python as much as with
arithmetic; more threads do not help. So where a run has several such models to measure and a core
to spare, a worker takes them from the other end of the list, and first of all what takes
longest. Both share the store and its locks: what one has measured the other reads, a model that one
is at the other leaves to it, and when the worker fails the first measures itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from refutable.errors import RefutableError
from refutable.measurement.completion import lock_of
from refutable.measurement.engine import Engine
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings
from refutable.models.identify import known
from refutable.models.registry import all_specs, resolve
from refutable.models.sources.twin import measured_when_trained
from refutable.models.spec import ModelSource
from refutable.observables.registry import REGISTRY
from refutable.spec.claim import Claim
from refutable.spec.claim_files import claims_of_file, file_of
from refutable.spec.prompts import PromptLibrary, PromptSet
from refutable.system import worker

FEWEST = 3
"""Models to measure below which a worker is not worth its start."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker is told, on its standard input."""

    needs: tuple[tuple[str, str, str, str, str, bool], ...]
    """File and id of the claim, model, prompts, arm, and whether null controls are measured."""
    prompts: tuple[tuple[str, PromptSet], ...]
    settings: Settings


@dataclass(slots=True)
class Prefetch(Engine):
    """The worker of a run, and the cores that it was left."""

    process: worker.WorkerProcess
    cores: int
    shares: bool
    """Whether the threads of this process were limited for it."""

    def bring(self, model: str) -> None:
        """Take its cores back if it is done; what it has not measured, this process measures."""
        if not self.process.running:
            self.end()

    def end(self) -> None:
        """Stop it and take its cores back; more than once does no harm."""
        self.process.end()
        if self.shares:
            self.shares = False
            os.environ.pop("OMP_NUM_THREADS", None)
            worker.set_threads(self.cores)


def start(harness: Harness, needs: Iterable[Need]) -> Prefetch | None:
    """Start measuring in a worker if there is enough to measure and a core for it.

    Parameters
    ----------
    harness : Harness
        Of the run, with its plan made.
    needs : iterable of Need
        Everything the run asks for.

    Returns
    -------
    Prefetch or None
        To be ended with the run.
    """
    cores = worker.cores()
    if cores < 2 or harness.sources.settings.device != "cpu":
        return None
    wanted = [need for need in needs if _shipped(harness.name_of(need.model))]
    models = dict.fromkeys(need.model for need in wanted)
    waiting = {model for model in models if _unmeasured(harness, model)}
    sets = _prompt_sets(harness, wanted)
    given_away = [
        need
        for model in _order(harness, wanted)
        if model in waiting
        for need in wanted
        if need.model == model and need.prompts in sets
    ]
    if len({need.model for need in given_away}) < FEWEST:
        return None
    job = Job(
        tuple(
            (str(file_of(n.claim)), n.claim.id, n.model, n.prompts, n.arm, n.controlled)
            for n in given_away
        ),
        tuple((name, sets[name]) for name in dict.fromkeys(n.prompts for n in given_away)),
        harness.sources.settings,
    )
    share = max(1, cores // 2)
    process = worker.start(__name__, job, env={"OMP_NUM_THREADS": str(share)})
    if process is None:
        return None
    shares = "OMP_NUM_THREADS" not in os.environ
    if shares:
        os.environ["OMP_NUM_THREADS"] = str(share)
        worker.set_threads(share)
    return Prefetch(process, cores, shares)


def _order(harness: Harness, needs: list[Need]) -> list[str]:
    """Models in the order in which the worker takes them.

    The run comes to them in the order of their first claims, so that the last of these is first.
    What takes longest goes before: begun last it would leave the other process with nothing to do.
    """
    models = list(dict.fromkeys(need.model for need in needs))[::-1]
    long = {n.model for n in needs if any(REGISTRY[name].long for name in n.observables)}
    return sorted(models, key=lambda model: model not in long)


def _prompt_sets(harness: Harness, needs: list[Need]) -> dict[str, PromptSet]:
    """Return the prompt sets that can be read; the items of the others tell what is wrong."""
    sets: dict[str, PromptSet] = {}
    for name in dict.fromkeys(need.prompts for need in needs):
        with suppress(RefutableError):
            sets[name] = harness.sources.prompts(name)
    return sets


def _shipped(name: str) -> bool:
    """Whether what a model is named by is one of those in fixtures/, which are small."""
    return any(s.id == name and s.source is ModelSource.TWIN for s in all_specs())


def _unmeasured(harness: Harness, model: str) -> bool:
    """Whether a model has to be measured, as far as can be told without loading libraries."""
    try:
        spec = resolve(harness.name_of(model))
        if harness.replayable(spec) is not None:
            return False
        if not known(spec) and harness.described(spec) is None:
            return True
        archive = harness.archive(model)
        archive.replay = measured_when_trained(spec)
        return any(
            archive.missing(prompts, arm, control.name if control else "", names)
            for (prompts, arm), by_control in archive.groups.items()
            for control, names in by_control.items()
        )
    except RefutableError:
        # Its own items say what is wrong.
        return False


def run(job: Job) -> None:
    """Measure what a job asks for, model by model."""
    harness = open_harness(PromptLibrary(sets=dict(job.prompts)), job.settings)
    needs = [
        Need(claim, model, prompts, arm, controlled)
        for file, claim_id, model, prompts, arm, controlled in job.needs
        if (claim := _claims(file).get(claim_id)) is not None
    ]
    harness.plan(needs)
    for model in dict.fromkeys(need.model for need in needs):
        # The run meets the same error, and tells it.
        with suppress(RefutableError):
            # One that the run is at is left to it: waiting for it would leave a core idle.
            if not harness.sources.store.is_locked(lock_of(harness.state(model))):
                harness.measure(model)
        harness.forget(model)


@cache
def _claims(file: str) -> dict[str, Claim]:
    """Return the claims of a file; what cannot be imported is left to the run itself."""
    with suppress(RefutableError):
        return claims_of_file(Path(file))
    return {}


if __name__ == "__main__":
    run(worker.receive())
