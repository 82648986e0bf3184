"""Time of a training step with RMSNorm against LayerNorm: a statement about one machine (N12)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from refutable.observables.registry import experiment

if TYPE_CHECKING:
    import xarray as xr

BATCHES = 6
"""Stretches of the run; what one of them gives is one unit."""
PAIRS = 4
"""Pairs of steps in each batch, in alternating order."""
KINDS = ("rmsnorm", "layernorm")


def interleaved(
    first: Callable[[], None],
    second: Callable[[], None],
    *,
    batches: int = BATCHES,
    pairs: int = PAIRS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Log ratio of the time of `first` to that of `second`, ``(batch, pair)``.

    Parameters
    ----------
    first, second : callable
        What is timed. Within a pair one runs right after the other, and the order alternates, so
        that drift of the machine's speed falls out of a batch.
    batches, pairs : int
        Pairs in each batch; an even number keeps the orders balanced.
    clock : callable
        Gives seconds.
    """
    import gc
    import math

    def seconds(work: Callable[[], None]) -> float:
        start = clock()
        work()
        return clock() - start

    found = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(batches):
            row = []
            for pair in range(pairs):
                if pair % 2:
                    later, earlier = seconds(second), seconds(first)
                else:
                    earlier, later = seconds(first), seconds(second)
                row.append(math.log(earlier / later))
            found.append(row)
    finally:
        if collecting:
            gc.enable()
    return found


@experiment(dims=("batch", "pair"), unit="log ratio", per_prompt=False)
def step_time_log_ratio(loaded: Any, prompts: None) -> xr.DataArray:
    """Log ratio of the time of a training step of an RMSNorm twin to that of its LayerNorm sibling.

    Notes
    -----
    Both are fresh copies of the twin's config that differ in the kind of norm alone, and take the
    recipe's step (8 rows of 128 predictions, clipped gradient, AdamW) in turn: 24 pairs in 6
    batches, after three steps each to warm up. On a CPU the time is the process's processor time
    with one thread, which other programs hardly lengthen, elsewhere elapsed time. Neighbouring
    steps share the state of the machine, so pairs are not independent; a batch's median is the
    unit. Another processor, another device or another torch gives another value.
    """
    import torch
    import xarray as xr

    first, second = (_step_of(loaded, kind) for kind in KINDS)
    on_cpu = str(loaded.device).startswith("cpu")
    clock = time.process_time if on_cpu else time.perf_counter
    threads = torch.get_num_threads()
    try:
        if on_cpu:
            torch.set_num_threads(1)
        for _ in range(3):
            first()
            second()
        ratios = interleaved(first, second, clock=clock)
    finally:
        torch.set_num_threads(threads)
    names = [f"batch-{i}" for i in range(len(ratios))]
    coords = {"batch": names, "family": ("batch", names), "pair": range(PAIRS)}
    return xr.DataArray(ratios, dims=("batch", "pair"), coords=coords)


def _step_of(loaded: Any, kind: str) -> Callable[[], None]:
    """Return the training step of a fresh twin of the same config with a kind of norm."""
    import copy

    import torch

    from refutable.errors import NotAvailableError
    from refutable.twins.model import TwinConfig, TwinLMHeadModel, initialise
    from refutable.twins.recipe import TwinRecipe

    if not isinstance(loaded.model.config, TwinConfig):
        raise NotAvailableError(f"{loaded.spec.id} is no twin: it has no sibling with another norm")
    recipe = TwinRecipe()
    config = copy.deepcopy(loaded.model.config)
    config.norm_kind = kind
    with torch.random.fork_rng(devices=[]):
        model = TwinLMHeadModel(config)
    initialise(model, seed=0)
    device = torch.device(loaded.device)
    model.to(device).train()  # type: ignore[arg-type]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, fused=True)
    # Times do not depend on which tokens are read.
    shape = (recipe.batch, min(recipe.context, config.n_positions) + 1)
    rows = torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(0)).to(
        device
    )

    def step() -> None:
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # Waits for a device that works on its own.
        loss.item()

    return step
