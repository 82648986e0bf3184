"""Warnings are errors for the package's own tests, and for nothing else."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: threads of two workers that wait for one core make both slow.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, and no deadline: a busy machine is no counterexample.
settings.register_profile("refutable", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("refutable")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # Put first, so that a test's own filters come later and win.
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
