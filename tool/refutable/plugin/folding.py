"""What pytest's own summary leaves out, because the screen of claims says it in fewer lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

EXPLAINED = 2
"""Failed claims that pytest's section explains in full before the screen's line must do."""
HYPOTHESIS = "hypothesispytest"
"""Name of hypothesis' own plugin."""
MOVED = "ClaimMoved: "
"""In the text of a warning that a verdict moved, which the screen tells beside the verdict."""


@contextmanager
def folded(reporter: TerminalReporter | None) -> Iterator[None]:
    """Keep failures and errors of claims, and warnings of what moved, out of pytest's sections.

    They are counted all the same, and the first failures are explained. What was raised with a
    traceback is no verdict: it stays, and so does everything with -v.
    """
    if reporter is None or reporter.verbosity > 0:
        yield
        return
    whole = dict(reporter.stats)
    for kind, most in (("failed", EXPLAINED), ("error", 0)):
        if kind in whole:
            told = [r for r in whole[kind] if _told_by_screen(r)]
            left_out = set(map(id, told[most:]))
            reporter.stats[kind] = [r for r in whole[kind] if id(r) not in left_out]
    if "warnings" in whole:
        reporter.stats["warnings"] = [w for w in whole["warnings"] if MOVED not in w.message]
    try:
        yield
    finally:
        for kind in ("failed", "error", "warnings"):
            if kind in whole:
                reporter.stats[kind] = whole[kind]


def spare_hypothesis(config: pytest.Config) -> None:
    """Take hypothesis' part of the summary away where no test has imported hypothesis.

    It would import the whole of it, a twentieth of a warm run, to find that nothing was written.
    """
    plugin = config.pluginmanager.get_plugin(HYPOTHESIS)
    wanted = config.getoption("--hypothesis-show-statistics", False)
    if plugin is not None and "hypothesis" not in sys.modules and not wanted:
        config.pluginmanager.unregister(plugin)


def _told_by_screen(report: object) -> bool:
    carried = getattr(report, "refutable", None)
    return carried is not None and bool(carried["told"])
