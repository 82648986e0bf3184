"""How a processor computes while a run that others should be able to repeat is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def repeatable_on_cpu(device: str, *, threads: int | None = None) -> Iterator[None]:
    """Take numbers too small for full precision as 0 on a CPU, and only for the block.

    Other work in the process would round otherwise than it does elsewhere.

    Parameters
    ----------
    device : str
        Where is trained; nothing is done but for ``cpu``.
    threads : int, optional
        How many threads add up: sums in another order differ in their last bits. All by default.
    """
    import torch

    if device != "cpu":
        yield
        return
    before = torch.get_num_threads()
    flushed = not bool(torch.tensor(1e-42) * 1)
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)
