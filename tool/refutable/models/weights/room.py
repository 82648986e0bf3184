"""Memory for tensors that are read or drawn one after another."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_HELD_HERE = 3
"""References to an array that nobody uses: the list, the variable that goes through it, the
argument of the function that counts them."""


class Room:
    """Hands out memory as new each time."""

    def empty(self, count: int) -> Floats:
        """Return an array of so many numbers, whatever they are."""
        return np.empty(count, np.float32)


class ReusedRoom(Room):
    """Hands out what nobody uses any more, where it has the right size.

    The blocks of a model have the same shapes. Memory that is handed back to the system with each
    block and fetched again, page by page, costs as much as drawing the numbers that go into it.
    """

    def __init__(self) -> None:
        self._arrays: list[Floats] = []

    def empty(self, count: int) -> Floats:
        """Return an array that no view, tensor or parameter looks at."""
        for array in self._arrays:
            if array.size == count and sys.getrefcount(array) == _HELD_HERE:
                # A view keeps what it looks at: the count says when the last of them is gone.
                return array.view()
        array = np.empty(count, np.float32)
        self._arrays.append(array)
        return array.view()
