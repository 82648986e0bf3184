"""What a claim run does to its process: threads, and lines on the terminal."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from refutable.laboratory import Laboratory, Need


def share_cores(config: pytest.Config) -> None:
    """Give an xdist worker its share of the cores.

    Torch would start as many threads as there are cores in every worker, and threads that wait
    for each other on a core that another worker holds make both many times slower.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    workers = int(getattr(config, "workerinput", {})["workercount"])
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))


def measure_ahead(config: pytest.Config, laboratory: Laboratory, needs: list[Need]) -> None:
    """Start a second process on the models at the end of the list, where that pays."""
    if config.getoption("numprocesses", None):
        return
    from refutable.ahead import start

    process = start(laboratory, needs)
    if process is not None:
        # A run that is stopped early leaves it in the middle of a model.
        config.add_cleanup(lambda: _end(process))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def say_line(config: pytest.Config, line: str) -> None:
    """Print a line of progress, past pytest's capture; nothing with ``-q``."""
    if config.get_verbosity() < 0:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return
    if capture is None:
        reporter.write_line(f"  {line}", cyan=True)
        return
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_line(f"  {line}", cyan=True)
