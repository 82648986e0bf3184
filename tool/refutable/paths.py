"""Where the package's data lies and where it may write."""

from __future__ import annotations

import os
from pathlib import Path

import refutable

_CHECKOUT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """Return the folder for converted models, facts and observations; made when missing.

    ``REFUTABLE_CACHE`` names it; otherwise it is the user's cache folder of the platform.
    """
    named = os.environ.get("REFUTABLE_CACHE")
    if named:
        folder = Path(named).expanduser()
    else:
        from platformdirs import user_cache_dir

        folder = Path(user_cache_dir("refutable"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fixtures() -> Path:
    """Return the folder of the registry, prompt sets and shipped weights.

    A wheel carries it inside the package; in a checkout it lies at the root of the repository.
    """
    for base in (*map(Path, refutable.__path__), _CHECKOUT):
        folder = base / "fixtures"
        if (folder / "models.toml").is_file():
            return folder
    return _CHECKOUT / "fixtures"
