"""Every tensor of a model in a few numbers: enough to tell what became of it in another release.

A release is compared with one that may be gone, so what is kept must answer by itself: is this
tensor the same, was it rescaled, zeroed, moved, permuted, rounded, and by how much does it differ?
A tensor (row, column) leaves a digest of its values, and for every row and column its norm and its
projection on one fixed vector of random signs. Two rows that agree in both are the same row; the
squared differences of the projections add up to the squared norm of the difference on average
(Johnson and Lindenstrauss 1984), so the relative change is known without the other tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.system.typing import Json

SAMPLED_ROWS = 8
"""Rows in which distinct values are counted: how coarsely a tensor is rounded."""
NARROW = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of 16 bits that may hold every value of a tensor without rounding."""
_SEED = 20_240_711


@cache
def signs(size: int) -> torch.Tensor:
    """Return the fixed random signs that vectors of a size are projected on: (size,), float32."""
    drawn = np.random.default_rng([_SEED, size]).integers(0, 2, size, dtype=np.int8)
    return torch.from_numpy((2 * drawn - 1).astype(np.float32))


def tensor_facts(
    model: PreTrainedModel,
) -> tuple[list[dict[str, Json]], dict[str, NDArray[np.float32]]]:
    """Describe every parameter of a model as loaded, under the names its class gives.

    Names, shards, types and layouts of the files have no part in it: what transformers makes of
    them is described. A parameter that two modules share is described under both names. Buffers
    that a checkpoint holds, such as the biases by which some routers choose experts, are described
    as parameters are.

    Parameters
    ----------
    model : torch.nn.Module
        With weights.

    Returns
    -------
    facts : list of dict
        By parameter: ``name``, ``shape``, ``digest`` (of the values as float32, 24 hex digits),
        ``norm`` (Euclidean), ``levels`` (most distinct values in a sampled row, and the length of
        a row), ``finite``, ``zeros`` (how many values are 0) and ``exact`` (types of 16 bits that
        hold every value).
    arrays : dict of str to array
        For a matrix ``NAME|row_norm``, ``NAME|row_sign``, ``NAME|col_norm``, ``NAME|col_sign``;
        for a vector ``NAME|values``. A tensor of more dimensions is taken as so many matrices one
        above the other: all their rows, and the columns of each. float32.
    """
    facts, arrays = [], {}
    for name, value in _parameters(model):
        whole = value.detach().to("cpu", torch.float32).contiguous()
        facts.append(_of_one(name, whole))
        arrays.update({f"{name}|{key}": array for key, array in _arrays(whole)})
    return facts, arrays


def _parameters(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    held = dict(model.named_parameters(remove_duplicate=False))
    saved = model.state_dict()
    held |= {name: saved[name] for name, _ in model.named_buffers() if name in saved}
    yield from sorted(held.items())


def _of_one(name: str, value: torch.Tensor) -> dict[str, Json]:
    content = hashlib.blake2b(
        value.numpy().data.cast("B") if value.numel() else b"", digest_size=12
    )
    return {
        "name": name,
        "shape": list(value.shape),
        "digest": content.hexdigest(),
        "norm": float(torch.linalg.vector_norm(value, dtype=torch.float64)),
        "levels": _levels(value),
        "finite": bool(torch.isfinite(value).all()),
        "zeros": int((value == 0).sum()),
        "exact": [name for name, kind in NARROW.items() if bool((value.to(kind) == value).all())],
    }


def _levels(value: torch.Tensor) -> list[int]:
    rows = value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value.reshape(1, -1)
    if not rows.numel():
        return [0, 0]
    picked = np.unique(np.linspace(0, rows.shape[0] - 1, SAMPLED_ROWS).astype(int))
    most = max(int(torch.unique(rows[int(i)]).numel()) for i in picked)
    return [most, int(rows.shape[1])]


def _arrays(value: torch.Tensor) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if value.ndim < 2:
        yield "values", value.reshape(-1).numpy().copy()
        return
    matrices = value.reshape(-1, *value.shape[-2:])
    for axis, way in ((2, "row"), (1, "col")):
        yield f"{way}_norm", torch.linalg.vector_norm(matrices, dim=axis).reshape(-1).numpy()
        along = signs(matrices.shape[axis])
        lines = matrices @ along if axis == 2 else along @ matrices
        yield f"{way}_sign", lines.reshape(-1).numpy()
