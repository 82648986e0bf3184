"""What a user sees while claims are tested: one live line in a terminal, little anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from refutable.plugin.process import say_line
from refutable.report.text import duration

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter
    from rich.live import Live

SILENCE = 60.0
"""Seconds after which a log that is no terminal gets a line, so that nobody takes it for dead."""
TOO_EARLY = 0.02
"""Share of the work that must be done before the time left is worth saying."""
PREFIX = "claims "


@dataclass(slots=True)
class Course:
    """How far a run has come."""

    cells: dict[str, str] = field(default_factory=dict)
    """Model of each cell, by node id."""
    seen: set[str] = field(default_factory=set)
    model: str = ""
    what: str = ""
    done: int = 0
    of: int = 0
    started: float = field(default_factory=time.monotonic)

    def share(self) -> float:
        """Share of the work that is done: cells count alike, and so do a model's passes."""
        total = len(self.cells)
        if not total:
            return 0.0
        ahead = Counter(m for node, m in self.cells.items() if node not in self.seen)
        passes = self.done / self.of if self.of else 0.0
        return (len(self.seen) + passes * ahead[self.model]) / total

    def line(self, width: int, now: float | None = None) -> str:
        """Word it for a line of a terminal, the end cut off where it is too narrow.

        Parameters
        ----------
        width : int
            Columns.
        now : float, optional
            Time of `time.monotonic`.
        """
        took = (time.monotonic() if now is None else now) - self.started
        share = self.share()
        far = f"{len(self.seen)}/{len(self.cells)} cells, {_whole(took)}"
        left = took * (1 - share) / share if share > TOO_EARLY else 0.0
        if left >= 1:
            far += f", about {_whole(left)} left"
        what = self.what or "starting"
        if self.of > 1:
            what += f" ({min(self.done + 1, self.of)} of {self.of})"
        room = width - len(far) - 4
        if len(what) > room:
            what = what[: max(room - 1, 0)] + "…"
        return f"  {what}  {far}"[:width]


def _whole(seconds: float) -> str:
    """Word a time in whole seconds, e.g. ``3 s`` or ``2 min 5 s``."""
    return duration(max(10.0, seconds)) if seconds >= 9.5 else f"{seconds:.0f} s"


class RunProgress:
    """The progress of one run, and a plugin that pytest tells which test begins and ends.

    With -v each piece of long work is a printed line. Otherwise a terminal gets one line that
    changes and goes away; CI, pipes and dumb terminals get pytest's dots, and a line when nothing
    was said for a minute.

    Parameters
    ----------
    config : pytest.Config
        Of the run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.course = Course()
        self._live: Live | None = None
        self._said = time.monotonic()

    def plan(self, nodeid: str, model: str) -> None:
        """Count a cell in."""
        self.course.cells[nodeid] = model

    def start(self, collected: int) -> None:
        """Show the live line, where there is a terminal for it and claims are all collected."""
        self.course.started = self._said = time.monotonic()
        # Claims must be all that the run tests: dots of other tests would break the line.
        alone = collected == len(self.course.cells)
        if not alone or not _in_terminal(self._reporter, self.config):
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        # Tests are run with their output captured: a descriptor of its own goes past that.
        out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        self.config.add_cleanup(out.close)
        console = Console(file=out, force_terminal=True)

        def shown() -> Text:
            return Text(self.course.line(console.width - 1), style="cyan")

        self._live = Live(
            get_renderable=shown,
            console=console,
            transient=True,
            refresh_per_second=2,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def stop(self) -> None:
        """Take the live line away; more than once does no harm."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def is_live(self) -> bool:
        """Whether one line stands for all dots."""
        return self._live is not None

    @property
    def _reporter(self) -> TerminalReporter | None:
        return self.config.pluginmanager.get_plugin("terminalreporter")

    def say(self, line: str, /, *, done: int = 0, of: int = 0) -> None:
        """Take what long work begins; xdist's workers stay silent."""
        if hasattr(self.config, "workerinput"):
            return
        self.course.what, self.course.done, self.course.of = line, done, of
        if self.is_live:
            return
        now = time.monotonic()
        verbose = self.config.get_verbosity() > 0
        if verbose or (self.config.get_verbosity() == 0 and now - self._said > SILENCE):
            self._said = now
            say_line(self.config, line)

    def status(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """Return how pytest counts a cell, without a letter, while a live line is shown."""
        if not self.is_live or report.nodeid not in self.course.cells:
            return None
        if report.when != "call" and report.passed:
            return "", "", ""
        kind = "error" if report.failed and report.when != "call" else report.outcome
        return kind, "", ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Take up a cell; its file is not named, for claims come model by model."""
        reporter, model = self._reporter, self.course.cells.get(nodeid)
        if model is not None and model != self.course.model:
            self.course.model = model
            self.course.what, self.course.done, self.course.of = f"testing {model}", 0, 0
        if reporter is None or reporter.verbosity != 0:
            return
        reporter.showfspath = model is None
        if model is not None and not self.is_live:
            reporter.write_ensure_prefix(PREFIX, "")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Count a cell as tested."""
        if nodeid in self.course.cells:
            self.course.seen.add(nodeid)


def _in_terminal(reporter: TerminalReporter | None, config: pytest.Config) -> bool:
    """Whether a line can change in place, and somebody is there to see it."""
    return (
        reporter is not None
        and bool(reporter.isatty())
        and config.get_verbosity() in (0, -1)
        and not os.environ.get("CI")
        and os.environ.get("TERM") != "dumb"
    )
