"""Arrays as few bytes: what is shipped with the code is packed, what a run keeps is not.

The bytes of numbers are put side by side by their place (all first bytes, all second bytes, ...)
before they are compressed with Zstandard: neighbouring numbers share their signs and exponents.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from refutable.errors import RefutableError

_LEVEL = 19
_MANTISSA = 23
"""Bits of a float32 behind its leading one."""

Array = np.ndarray[Any, np.dtype[Any]]


def pack(values: Array) -> Array:
    """Compress an array.

    Parameters
    ----------
    values : array, any shape
        Numbers of any type.

    Returns
    -------
    array of uint8, (byte,)
    """
    rows = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    sorted_bytes = rows.reshape(-1, values.dtype.itemsize).T.tobytes()
    packed = pa.Codec("zstd", compression_level=_LEVEL).compress(sorted_bytes, asbytes=True)
    return np.frombuffer(packed, dtype=np.uint8)


def unpack(packed: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return what `pack` was given.

    Raises
    ------
    RefutableError
        If the bytes are not those of such an array.
    """
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    try:
        raw = pa.Codec("zstd").decompress(packed.tobytes(), decompressed_size=size, asbytes=True)
        by_byte = np.frombuffer(raw, dtype=np.uint8).reshape(kind.itemsize, -1)
    except (OSError, ValueError) as problem:
        raise RefutableError(f"cannot unpack an array of {shape} {dtype}: {problem}") from None
    return np.ascontiguousarray(by_byte.T).view(kind).reshape(shape)


def rounded(values: Array, bits: int) -> Array:
    """Round float32 numbers to so many binary digits behind the leading one, ties to even.

    The relative error is at most ``2 ** -(bits + 1)``. NaN and infinity stay as they are.
    """
    if not 0 < bits < _MANTISSA:
        raise ValueError(f"expected 1 to {_MANTISSA - 1} bits, got bits={bits}")
    if values.dtype != np.float32:
        raise ValueError(f"expected float32, got {values.dtype}")
    fraction, exponent = np.frexp(values)
    # np.rint rounds ties to even; the fraction lies in [0.5, 1).
    scale = np.float32(2 ** (bits + 1))
    finite = np.isfinite(values)
    nearest = np.ldexp(np.rint(np.where(finite, fraction, 0) * scale) / scale, exponent)
    return np.asarray(np.where(finite, nearest, values), dtype=np.float32)
