"""Whether a run is a part of the one whose report lies in the folder, and where it then goes.

The report of a whole run must not be lost to a look at one claim of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.records import Result

if TYPE_CHECKING:
    import pytest

Cell = tuple[str, str, str, str]
"""Claim, model, prompts and arm."""

NAME = "part"
"""Of the folder beside the default one that parts of a run are left in."""


def narrowed(config: pytest.Config) -> bool:
    """Whether the command line asks for a part of what it collects."""
    option = config.option
    named = ("keyword", "markexpr", "deselect", "lf", "last_failed", "stepwise", "maxfail")
    claims = ("claim_id", "claim_arm", "claim_model", "claim_models_from")
    return any(getattr(option, name, None) for name in (*named, *claims))


def left_out(
    folder: Path, results: Iterable[Result], root: Path, *, restricted: bool
) -> tuple[int, int]:
    """Count what an earlier run in a folder holds and this one leaves out.

    Parameters
    ----------
    folder : Path
        Where the earlier run lies; it may hold none.
    results : iterable of Result
        Of this run.
    root : Path
        What the files of node ids are relative to.
    restricted : bool
        Whether this run was asked for a part of what it collected, or was stopped.

    Returns
    -------
    held : int
        Cells of the earlier run; 0 where there is none, or where it is about other models, so that
        this run is one of its own.
    missing : int
        Those of them that this run left out although their tests are still there: tests that were
        removed or renamed do not make every later run a part.
    """
    before = _recorded(folder / "evidence.json")
    now = list(results)
    cells = {(r.claim, r.model, r.prompts, r.arm) for r in now}
    if not before or not {cell[1] for cell in cells} <= {cell[1] for cell, _ in before}:
        return 0, 0
    tests = {_test(r.nodeid) for r in now}
    missing = 0
    for cell, nodeid in before:
        if cell in cells:
            continue
        there = restricted if _test(nodeid) in tests else _exists(root, nodeid)
        missing += there
    return len(before), missing


def _recorded(path: Path) -> list[tuple[Cell, str]]:
    """Cells and node ids of an earlier run; of a file that cannot be read none."""
    try:
        rows = json.loads(path.read_text("utf-8"))["results"]
        return [
            ((r["claim"], r["model"], r["prompts"], r["arm"]), str(r.get("nodeid", "")))
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _test(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _exists(root: Path, nodeid: str) -> bool:
    """Whether the test of a node id is still in its file."""
    file, _, name = _test(nodeid).partition("::")
    function = name.rpartition("::")[2]
    try:
        return bool(function) and f"def {function}(" in (root / file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
