"""One sweep over the blocks of a streamed model: each block is filled once and runs on every pass.

A pass over a fixed prompt set needs each block once. So a block is filled, every pack runs through
it, and it is emptied before the next one is filled. The forward is the class's own: for each block
and pack it is called anew, the blocks before hand on what is known, and it is broken off behind the
block. What is known of a pack is what its last block made, a few megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from refutable.capture.batch import Batch, make_batch
from refutable.capture.edits import starting_behind
from refutable.capture.hooks import OUTSIDE, Capture
from refutable.capture.measure import gathered, passes_of
from refutable.capture.plan import Plan, make_plan

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Recordable
    from refutable.models.encode import Encoded
    from refutable.models.sites import Sites
    from refutable.models.streamed import StreamedModel

    Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """What one set of prompts is run for."""

    encoded: Encoded
    observables: Sequence[Recordable]
    layout: str
    finite: bool = True
    """Whether to refuse numbers that are not finite where a sound model gives none."""


@dataclass(slots=True)
class _Run:
    """One pack on its way through the blocks."""

    pack: Pack
    ids: Sequence[Sequence[int]]
    plan: Plan
    batch: Batch
    known: Any = None
    """What the block before handed on."""
    parts: dict[str, Array] = field(default_factory=dict)


class _BrokenOffError(Exception):
    """Ends a forward behind the block that it was made for."""


@torch.no_grad()
def sweep(
    streamed: StreamedModel, sites: Sites, jobs: Sequence[Job]
) -> list[dict[str, xr.DataArray]]:
    """Record observables of a streamed model on several sets of prompts, in one sweep.

    Parameters
    ----------
    streamed : StreamedModel
        Of any size; at most one of its blocks is in memory.
    sites : Sites
        Where its parts are.
    jobs : sequence of Job
        Prompts, observables and layout.

    Returns
    -------
    list of dict of str to xarray.DataArray
        For each job what `refutable.capture.measure.measure` gives.
    """
    runs = [_runs_of(streamed, job) for job in jobs]
    every = [run for job_runs in runs for run in job_runs]
    blocks = sites.blocks
    with streamed.rest():
        for layer in range(len(blocks)):
            with streamed.block(layer):
                for run in every:
                    _through_block(streamed.model, sites, run, layer)
        for run in every:
            _outside(streamed.model, sites, run)
    dtype = str(next(streamed.model.parameters()).dtype).removeprefix("torch.")
    return [
        gathered(
            make_plan(job.observables),
            [run.pack for run in job_runs],
            {
                item.name: [run.parts[item.name] for run in job_runs]
                for item in job_runs[0].plan.observables
            },
            job.encoded,
            dtype=dtype if job.finite else "",
        )
        for job, job_runs in zip(jobs, runs, strict=True)
    ]


def _runs_of(streamed: StreamedModel, job: Job) -> list[_Run]:
    plan = make_plan(job.observables)
    packs = passes_of(streamed.model, job.encoded, plan, job.layout)
    return [
        _Run(
            pack,
            job.encoded.ids,
            # Recorders keep what they saw of their pack until it is through.
            make_plan(job.observables),
            make_batch(pack, job.encoded.ids, "cpu", attention=plan.attention),
        )
        for pack in packs
    ]


def _through_block(model: Any, sites: Sites, run: _Run, layer: int) -> None:
    """Run one pack through one block that is filled."""
    made: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        made.append(output)
        raise _BrokenOffError

    with (
        starting_behind(sites, [run.known] * layer, layer),
        Capture(model, sites, run.plan, only=layer) as capture,
    ):
        # Added last: what reads the block's output has read it when the forward is broken off.
        hook = sites.blocks[layer].register_forward_hook(keep)
        try:
            capture.step(run.batch, partial(_ran, model, run.batch))
        finally:
            hook.remove()
    (run.known,) = made


def _outside(model: Any, sites: Sites, run: _Run) -> None:
    """Run what lies outside the blocks, and hand the pack's reductions over."""
    count = len(sites.blocks)
    with (
        starting_behind(sites, [run.known] * count, count),
        Capture(model, sites, run.plan, only=OUTSIDE) as capture,
    ):
        capture.step(run.batch, partial(_ran, model, run.batch))
    run.known = None
    taken = {r.name: r.take(run.pack, count) for r in run.plan.recorders}
    run.parts = {name: value.detach().cpu().numpy() for name, value in taken.items()}


def _ran(model: Any, batch: Batch) -> Any:
    try:
        return model(**batch.inputs, use_cache=False, return_dict=True)
    except _BrokenOffError:
        return None
