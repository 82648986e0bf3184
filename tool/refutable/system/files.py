"""Files that appear whole or not at all: the one way in which this package writes them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"
"""Ends the name of what is not yet whole; a process that was killed may leave one."""


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Lend a path to write to; what lies there at the end takes the place of `path` at once.

    A reader sees the old content or the new one, never a part. Where the block raises, the old
    content stays and nothing else is left.

    Parameters
    ----------
    path : Path
        The file or folder to write; folders above it are made.

    Yields
    ------
    Path
        A neighbour of `path`, on the same file system, that does not exist yet and that no other
        process is given. Its name ends in ``.part``.

    Raises
    ------
    OSError
        If it cannot be written, or if `path` is a folder that holds something already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole; text as UTF-8, with the permissions that the user's files have.

    Parameters
    ----------
    path : Path
        The file; folders above it are made.
    content : str or bytes
        All that it is to hold.
    """
    with draft(path) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
