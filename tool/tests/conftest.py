"""Warnings are errors for the package's own tests, and for nothing else."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, and no deadline: a busy machine is no counterexample.
settings.register_profile("refutable", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("refutable")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # Put first, so that a test's own filters come later and win.
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
