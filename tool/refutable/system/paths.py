"""Where the package's data lies and where it may write."""

from __future__ import annotations

import os
from pathlib import Path

from refutable.errors import RefutableError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def cache_dir() -> Path:
    """Return the folder for converted models, facts and observations; made when missing.

    ``REFUTABLE_CACHE`` names it; otherwise it is the user's cache folder of the platform.

    Raises
    ------
    RefutableError
        If it cannot be written to.
    """
    named = os.environ.get("REFUTABLE_CACHE")
    if named:
        folder = Path(named).expanduser()
    else:
        from platformdirs import user_cache_dir

        folder = Path(user_cache_dir("refutable"))
    return writable(folder, "let REFUTABLE_CACHE name a folder that can be written to")


def writable(folder: Path, otherwise: str = "name another folder") -> Path:
    """Return a folder to write to, made when missing.

    Parameters
    ----------
    folder : Path
        Where files are to be written.
    otherwise : str
        What to do where that is impossible.

    Raises
    ------
    RefutableError
        If it cannot be made or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        reason = "a file is in the way"
    except OSError as problem:
        reason = problem.strerror or str(problem)
    else:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = "no permission"
    raise RefutableError(f"cannot write to {folder}: {reason}; {otherwise}")


def fixtures() -> Path:
    """Return the folder of the registry, prompt sets and shipped weights.

    A wheel carries it inside the package; in a checkout it lies at the root of the repository.
    """
    for base in (_PACKAGE, _CHECKOUT):
        folder = base / "fixtures"
        if (folder / "models.toml").is_file():
            return folder
    return _CHECKOUT / "fixtures"


def shipped_baseline() -> Path:
    """Return the file of what the suite found on the models that it ships.

    A wheel carries it inside the package; in a checkout it is the one that the suite records into.
    """
    inside = _PACKAGE / "reports" / "baseline.json"
    return inside if inside.is_file() else _CHECKOUT / "reports" / "baseline.json"
