"""Where, with what and by which command a run was made."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.records import Environment

if TYPE_CHECKING:
    from refutable.plugin.session import ClaimSession

_PACKAGES = ("refutable", "torch", "transformers", "tokenizers", "numpy", "scipy", "statsmodels")


def environment(session: ClaimSession, family_size: int) -> Environment:
    """Describe where and with what the run was made."""
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
        device=session.options.device,
        dtype=session.options.dtype,
        command=_command(session),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.started)),
        seconds=round(time.time() - session.started, 3),
        family_size=family_size,
    )


def _command(session: ClaimSession) -> str:
    """Return what the user typed, without the path of the folder it was typed in."""
    program = Path(sys.argv[0]).name
    words = sys.argv[1:] if program == "refutable" else session.config.invocation_params.args
    here = str(session.config.invocation_params.dir)
    shown = [str(word).replace(here + os.sep, "").replace(here, ".") for word in words]
    return shlex.join(["refutable" if program == "refutable" else "pytest", *shown])
