"""Warnings are errors for the package's own tests, and for nothing else."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # Put first, so that a test's own filters come later and win.
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
