"""Going through the blocks of a model: which, in what order, and on how many cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from refutable.models.weights.reading import WeightReader

T = TypeVar("T")
_LARGE = 1 << 24
"""Elements of a matrix above which one is worked on at a time, to bound memory."""


def spaced(layers: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many blocks, evenly spaced, the first and the last among them."""
    if len(layers) <= most:
        return tuple(layers)
    at = np.linspace(0, len(layers) - 1, most).round().astype(int)
    return tuple(layers[i] for i in at)


def ends(layers: Sequence[int], each: int = 3) -> tuple[int, ...]:
    """The first and the last few blocks; all of them in a shallow model."""
    if len(layers) <= 2 * each:
        return tuple(layers)
    return (*layers[:each], *layers[-each:])


def over_matrices(
    reader: WeightReader, names: Sequence[str], function: Callable[[NDArray[np.float32]], T]
) -> list[list[T]]:
    """Apply a function to the named matrices of every block, as (block, matrix).

    Blocks are read one after the other. The matrices of a block are worked on side by side, each
    on a single core: BLAS and OpenMP threads gain little at these sizes and lose much on a busy
    machine.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    workers = _workers(reader)
    results = []
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        for layer in reader.layers:
            if workers == 1:
                results.append([function(reader.matrix(layer, name)) for name in names])
                continue
            futures = [pool.submit(function, reader.matrix(layer, name)) for name in names]
            results.append([future.result() for future in futures])
    return results


def over_layers(reader: WeightReader, function: Callable[[WeightReader, int], T]) -> list[T]:
    """Apply a function to the reader and every block in turn, on a single core."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return [function(reader, layer) for layer in reader.layers]


def side_by_side(reader: WeightReader, count: int, function: Callable[[int], T]) -> list[T]:
    """Apply a function to 0, 1, ... on as many cores as there are; one for large matrices."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(_workers(reader)) as pool:
        return list(pool.map(function, range(count)))


def _workers(reader: WeightReader) -> int:
    layout = reader.layout
    block = [p.size for p in layout.parameters if p.layer is not None]
    return 1 if max(block, default=0) > _LARGE else min(4, os.cpu_count() or 1)


def averaged(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Mean over blocks of rows of numbers, blocks without a value left out."""
    table = np.asarray(values, dtype=float)
    counted = np.isfinite(table)
    total = np.where(counted, table, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(counted.any(axis=0), counted.sum(axis=0), np.nan))
