"""Freed memory is kept for the next array, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PASSES = """
import resource, sys
import numpy as np
from refutable.system.memory import keep_freed_memory

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        held = [np.ones(375_000) for _ in range(30)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before = faults()
if not keep_freed_memory():
    sys.exit(3)
faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has the switch")
def test_arrays_are_not_fetched_from_the_system_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PASSES], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("this C library has no such switch")
    before, after = map(int, done.stdout.split())
    # Thirty arrays of 3 MB are 22,000 pages, freed and fetched in each of ten rounds.
    assert before > 100_000
    assert after < before / 100
