"""Time of a training step with RMSNorm against LayerNorm: a statement about one machine (N12)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError
from refutable.observables.registry import observable
from refutable.training.recipe import TwinRecipe

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from refutable.models.load import LoadedModel

BATCHES = 6
"""Stretches of the run; what one of them gives is one unit."""
ROUNDS = 4
"""Times that all kinds of step are taken in each batch, in alternating order."""
COMPARED = ("rmsnorm", "layernorm-again")
"""What is timed against the LayerNorm step; the second is the same step of an equal model."""


def interleaved(
    against: Callable[[], None],
    works: Sequence[Callable[[], None]],
    *,
    batches: int = BATCHES,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> np.ndarray:
    """Log ratio of the time of one or two kinds of work to that of another.

    Parameters
    ----------
    against : callable
        What the others are timed against.
    works : sequence of callable
        One or two. In each round they run right before and right after `against`, and the order
        alternates, so that drift of the machine's speed falls out of a batch.
    batches, rounds : int
        Rounds in each batch; an even number keeps the orders balanced.
    clock : callable
        Gives seconds.

    Returns
    -------
    array, (work, batch, round)
    """
    import gc

    import numpy as np

    def seconds(work: Callable[[], None]) -> float:
        start = clock()
        work()
        return clock() - start

    order = [works[0], against, *works[1:]]
    times = np.empty((batches, rounds, len(order)))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for batch in range(batches):
            for turn in range(rounds):
                turn_order = range(len(order)) if turn % 2 == 0 else reversed(range(len(order)))
                for place in turn_order:
                    times[batch, turn, place] = seconds(order[place])
    finally:
        if collecting:
            gc.enable()
    others = np.delete(times, 1, axis=2)
    return np.moveaxis(np.log(others / times[..., 1:2]), 2, 0)


@observable(source="model", dims=("compared", "batch", "round"), unit="log ratio", version=2)
def step_time_log_ratio(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Log ratio of the time of a training step of an RMSNorm twin to that of its LayerNorm sibling.

    Notes
    -----
    The models are fresh copies of the twin's config that differ in the kind of norm alone. A second
    LayerNorm model, equal to the first, is timed in the same rounds: what is found for it
    (``compared`` is ``layernorm-again``) is what this way of timing finds where nothing differs.
    Each takes the recipe's step (8 rows of 128 predictions, clipped gradient, AdamW) in turn: 24
    rounds in 6 batches, after three steps each to warm up. On a CPU the time is the process's
    processor time with one thread, which other programs hardly lengthen, elsewhere elapsed time.
    Neighbouring steps share the state of the machine, so rounds are not independent; a batch's
    median is the unit. Another processor, another device or another torch gives another value.
    """
    import torch
    import xarray as xr

    rmsnorm, layernorm, again = (
        _step_of(loaded, kind) for kind in ("rmsnorm", "layernorm", "layernorm")
    )
    on_cpu = str(loaded.device).startswith("cpu")
    clock = time.process_time if on_cpu else time.perf_counter
    threads = torch.get_num_threads()
    try:
        if on_cpu:
            torch.set_num_threads(1)
        for _ in range(3):
            for step in (rmsnorm, layernorm, again):
                step()
        ratios = interleaved(layernorm, [rmsnorm, again], clock=clock)
    finally:
        torch.set_num_threads(threads)
    names = [f"batch-{i}" for i in range(BATCHES)]
    return xr.DataArray(
        ratios,
        dims=("compared", "batch", "round"),
        coords={
            "compared": list(COMPARED),
            "batch": names,
            "family": ("batch", names),
            "round": range(ROUNDS),
        },
    )


def _step_of(loaded: LoadedModel, kind: str) -> Callable[[], None]:
    """Return the training step of a fresh twin of the same config with a kind of norm."""
    import copy

    import torch

    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel, initialise

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
