"""How much a search may try: a number of candidates, or seconds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from refutable.errors import RefutableError

DEFAULT = 3000
"""Candidates that a search of a small model scores where nothing else is asked for."""
_SMALL = 20_000_000
_LEAST, _LEAST_APART = 600, 200
"""The fewest by default; and where a candidate costs more than its share of a packed pass."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may spend; both are ``None`` for the default."""

    candidates: int | None = None
    seconds: float | None = None

    @property
    def stated(self) -> bool:
        """Whether the user asked for it, so that claims which are no universal ones search too."""
        return self.candidates is not None or self.seconds is not None

    @property
    def nothing(self) -> bool:
        """Whether no search is made; stored counterexamples are replayed all the same."""
        return self.candidates == 0 or self.seconds == 0

    @property
    def shown(self) -> str:
        """As it was written on the command line."""
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return "default" if self.candidates is None else str(self.candidates)

    def of(self, parameters: int, passes: int = 1) -> int | None:
        """Return the number of candidates for a model of so many parameters; ``None``: by time.

        The default shrinks with the size of the model and the passes that a candidate costs beyond
        its share of a packed one, so that the same search is made whatever the speed of the
        machine.
        """
        if self.candidates is not None or self.seconds is not None:
            return self.candidates
        most = min(DEFAULT, DEFAULT * _SMALL // max(parameters, 1))
        return max(_LEAST if passes == 1 else _LEAST_APART, most // passes)


def parse_budget(text: str) -> Budget:
    """Read ``N``, ``SECONDSs`` or nothing.

    >>> parse_budget("30s")
    Budget(candidates=None, seconds=30.0)

    Raises
    ------
    RefutableError
        If it is neither.
    """
    plain = text.strip()
    if not plain or plain == "default":
        return Budget()
    if re.fullmatch(r"\d+", plain):
        return Budget(candidates=int(plain))
    if re.fullmatch(r"\d+(\.\d+)?s", plain):
        return Budget(seconds=float(plain[:-1]))
    raise RefutableError(
        f"expected a number of candidates (500) or seconds (30s) to search, got {text!r}"
    )


@dataclass(slots=True)
class Meter:
    """What is left of a budget while a search runs."""

    candidates: int | None
    seconds: float | None
    spent: int = 0
    started: float = field(default_factory=time.monotonic)

    def spend(self, count: int) -> None:
        """Count candidates that were scored."""
        self.spent += count

    @property
    def left(self) -> int:
        """Candidates that may still be scored; a large number where only time counts."""
        if self.seconds is not None and time.monotonic() - self.started >= self.seconds:
            return 0
        return 1 << 30 if self.candidates is None else max(0, self.candidates - self.spent)

    @property
    def share(self) -> float:
        """Share of the budget that is gone, 0 to 1."""
        by_time = by_count = 0.0
        if self.seconds:
            by_time = (time.monotonic() - self.started) / self.seconds
        if self.candidates:
            by_count = self.spent / self.candidates
        return min(1.0, max(by_time, by_count))
