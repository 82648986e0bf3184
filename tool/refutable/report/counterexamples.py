"""The cells that the report's section of counterexamples is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from refutable.report.cells import Cell


@dataclass(frozen=True, slots=True)
class Attacked:
    """Cells of a run by what came of looking for a counterexample."""

    shown: tuple[Cell, ...]
    """With a counterexample."""
    none: tuple[Cell, ...]
    """Searched, and none was found."""
    spared: tuple[Cell, ...]
    """Not attacked, with a reason."""

    def __bool__(self) -> bool:
        return bool(self.shown or self.none or self.spared)


def attacked(cells: Iterable[Cell]) -> Attacked:
    """Sort cells by what came of looking for a counterexample; others are left out."""
    every = list(cells)
    rest = [c for c in every if c.result.counterexample is None and c.result.search is not None]
    return Attacked(
        shown=tuple(c for c in every if c.result.counterexample is not None),
        none=tuple(c for c in rest if not c.result.search.reason),  # type: ignore[union-attr]
        spared=tuple(c for c in rest if c.result.search.reason),  # type: ignore[union-attr]
    )
