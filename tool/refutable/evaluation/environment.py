"""Where, with what and by which command a run was made."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from refutable.measurement.state import Settings
from refutable.records import Environment

_PACKAGES = ("refutable", "torch", "transformers", "tokenizers", "numpy", "scipy")


def environment(settings: Settings, *, started: float, command: str, tests: int) -> Environment:
    """Describe where and with what a run was made.

    Parameters
    ----------
    settings : Settings
        Device and dtype.
    started : float
        Seconds since the epoch.
    command : str
        What the user typed.
    tests : int
        Number of p values that Holm's adjustment went over.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        versions=versions,
        device=settings.device,
        dtype=settings.dtype,
        command=command,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        seconds=round(time.time() - started, 3),
        family_size=tests,
    )


def command_typed(words: Sequence[str], folder: Path) -> str:
    """Return what the user typed, without the path of the folder it was typed in.

    Parameters
    ----------
    words : sequence of str
        Arguments of pytest; those of ``refutable`` are read from the process where it was used.
    folder : Path
        Where it was typed.
    """
    by_name = Path(sys.argv[0]).name == "refutable"
    given = sys.argv[1:] if by_name else list(words)
    here = str(folder)
    shown = [str(word).replace(here + os.sep, "").replace(here, ".") for word in given]
    return shlex.join(["refutable" if by_name else "pytest", *shown])
