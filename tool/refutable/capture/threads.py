"""How many threads a model's passes are worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 2_000_000
"""Parameters below which threads wait for each other longer than they compute."""


@contextmanager
def threads_for(parameters: int) -> Iterator[None]:
    """Let torch work on a small model with one thread while a ``with`` block lasts.

    On a model of 250,000 parameters two threads take twice the processor time of one and save none.

    Parameters
    ----------
    parameters : int
        Of the model; 0 where that is not known.
    """
    before = torch.get_num_threads()
    if 0 < parameters < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
