"""How many threads a model's passes are worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

SMALL = 2_000_000
"""Parameters below which threads wait for each other longer than they compute."""


@contextmanager
def threads_for(parameters: int) -> Iterator[None]:
    """Let torch and NumPy work on a small model with one thread while a ``with`` block lasts.

    On a model of 250,000 parameters two threads take twice the processor time of one and save none.

    Parameters
    ----------
    parameters : int
        Of the model; 0 where that is not known.
    """
    if not 0 < parameters < SMALL:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Threads of linear algebra spin while they wait, which costs a busy machine most.
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
