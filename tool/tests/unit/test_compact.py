"""Packed arrays come back to the last bit; rounded ones within the stated error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from refutable.errors import RefutableError
from refutable.store.compact import pack, rounded, unpack

KINDS = st.sampled_from([np.dtype(name) for name in ("f4", "f8", "f2", "i8", "i4", "u1", "?")])


@given(KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0))))
def test_packing_loses_nothing(values: np.ndarray) -> None:
    again = unpack(pack(values), values.dtype.str, values.shape)
    assert again.dtype == values.dtype
    assert again.shape == values.shape
    assert again.tobytes() == values.tobytes()


def test_neighbours_of_one_size_take_less_room_than_bytes_in_their_order() -> None:
    values = np.random.default_rng(0).uniform(1, 2, 10_000).astype(np.float32)
    assert pack(values).size < 0.9 * values.nbytes


def test_other_bytes_are_refused_in_one_line() -> None:
    packed = pack(np.arange(6, dtype=np.float32))
    with pytest.raises(RefutableError, match=r"cannot unpack an array of \(3, 2\)") as told:
        unpack(packed[:-4], "<f4", (3, 2))
    assert "\n" not in str(told.value)


NORMAL = st.floats(2.0**-99, 2.0**99, width=32) | st.floats(-(2.0**99), -(2.0**-99), width=32)


@given(arrays.arrays(np.float32, 20, elements=NORMAL), st.integers(1, 22))
def test_rounding_stays_within_half_a_digit(values: np.ndarray, bits: int) -> None:
    wide = values.astype(float)
    error = np.abs(rounded(values, bits).astype(float) / wide - 1)
    assert error.max() <= 2.0 ** -(bits + 1)


def test_rounding_by_hand() -> None:
    # Two digits behind the leading one: steps of a quarter between 1 and 2, ties to even.
    values = np.array([1.0, 1.1, 1.125, 1.2, 1.375, -1.2, 0.0, 3.1, np.nan, np.inf], np.float32)
    expected = [1.0, 1.0, 1.0, 1.25, 1.5, -1.25, 0.0, 3.0, np.nan, np.inf]
    np.testing.assert_array_equal(rounded(values, 2), np.array(expected, np.float32))


@pytest.mark.parametrize("bits", [0, 23, 40])
def test_digits_that_float32_does_not_have_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 22 bits"):
        rounded(np.ones(2, np.float32), bits)
