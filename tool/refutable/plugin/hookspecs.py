"""Hooks that refutable offers to conftest files and plugins."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.hookspec
def pytest_refutable_data(config: pytest.Config) -> Path | None:
    """Return the folder of a suite's own data.

    The folder may hold ``prompts/*.toml`` and ``counterexamples/*.toml``; they are found before
    those that refutable brings.
    """
