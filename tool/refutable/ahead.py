"""Measure small models ahead of the run, in a second process.

The passes of a model of half a million parameters keep one core busy, with Python as much as with
arithmetic; more threads do not help. So where a run has several such models to measure and a core
to spare, a second process takes them from the other end of the list. Both share the store and its
locks: what one has measured the other reads, and when the second one fails the first measures
itself.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from refutable.errors import RefutableError
from refutable.laboratory import Laboratory, Need, Settings
from refutable.prompts import PromptSet

FEWEST = 3
"""Models to measure below which a second process is not worth its start."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the second process is told, on its standard input."""

    needs: tuple[tuple[str, str, str, str, bool], ...]
    """Claim, model, prompts, arm, and whether null controls are measured."""
    prompts: tuple[tuple[str, PromptSet], ...]
    settings: Settings


def start(laboratory: Laboratory, needs: Iterable[Need]) -> subprocess.Popen[bytes] | None:
    """Start measuring in a second process if there is enough to measure and a core for it.

    Parameters
    ----------
    laboratory : Laboratory
        Of the run, with its plan made.
    needs : iterable of Need
        Everything the run asks for.

    Returns
    -------
    subprocess.Popen or None
        To be ended with the run.
    """
    cores = os.cpu_count() or 1
    if cores < 2 or laboratory.settings.device != "cpu":
        return None
    wanted = [need for need in needs if _shipped(need.model)]
    models = dict.fromkeys(need.model for need in wanted)
    waiting = {model for model in models if _unmeasured(laboratory, model)}
    if len(waiting) < FEWEST:
        return None
    mine = [need for need in reversed(wanted) if need.model in waiting]
    job = Job(
        tuple((n.claim.id, n.model, n.prompts, n.arm, n.controlled) for n in mine),
        tuple({n.prompts: laboratory.prompts(n.prompts) for n in mine}.items()),
        laboratory.settings,
    )
    share = str(max(1, cores // 2))
    _take_share(share)
    process = subprocess.Popen(  # noqa: S603  (this interpreter and this module)
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": share},
    )
    assert process.stdin is not None  # noqa: S101  (a pipe was asked for)
    with suppress(BrokenPipeError):
        process.stdin.write(pickle.dumps(job))
        process.stdin.close()
    return process


def _shipped(model: str) -> bool:
    """Whether a model is one of those in fixtures/, which are small."""
    from refutable.models.registry import all_specs
    from refutable.models.spec import ModelSource

    return any(s.id == model and s.source is ModelSource.TWIN for s in all_specs())


def _unmeasured(laboratory: Laboratory, model: str) -> bool:
    """Whether a model has to be measured, as far as can be told without loading libraries."""
    from refutable.measuring import Measuring
    from refutable.models.identify import known
    from refutable.models.registry import resolve

    try:
        spec = resolve(laboratory.name_of(model))
        if laboratory.replayable(spec) is not None:
            return False
        if not known(spec):
            return True
        do = Measuring(laboratory, laboratory.state(model), laboratory.plan_for(model))
    except RefutableError:
        return False
    return any(
        do.missing(prompts, arm, control.name if control else "", names)
        for (prompts, arm), by_control in do.groups.items()
        for control, names in by_control.items()
    )


def _take_share(threads: str) -> None:
    """Leave the other process its cores."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = threads
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(int(threads))


def run(job: Job) -> None:
    """Measure what a job asks for, model by model."""
    from refutable.capture.committed import Committed
    from refutable.capture.store import Store
    from refutable.catalogue import bundled_claims
    from refutable.paths import cache_dir, fixtures

    claims = {claim.id: claim for claim in bundled_claims()}
    laboratory = Laboratory(
        Store(cache_dir() / "observations"),
        dict(job.prompts).__getitem__,
        job.settings,
        committed=Committed(fixtures() / "twins" / "observations.safetensors"),
    )
    # A claim of another package is left to the run itself.
    needs = [
        Need(claims[claim], model, prompts, arm, controlled)
        for claim, model, prompts, arm, controlled in job.needs
        if claim in claims
    ]
    laboratory.plan(needs)
    for model in dict.fromkeys(need.model for need in needs):
        # The run meets the same error, and tells it.
        with suppress(RefutableError):
            laboratory.measure(model)
        laboratory.forget(model)


if __name__ == "__main__":
    run(pickle.load(sys.stdin.buffer))  # noqa: S301  (its parent wrote it)
