"""A difference between the files of two releases: what, where, and whether it is suspect."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OTHER_SENSES = re.compile(r"(?i)vision|visual|image|audio|speech|video|(^|\.)encoder\.|mtp")
_BLOCK = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Fact:
    """A difference, in one line."""

    kind: str
    """``config``, ``tokenizer``, ``generation``, ``weights`` or ``stored``."""
    text: str
    suspect: bool
    """Whether it is of the kinds that a gate does not let pass unseen."""
    rank: int = 50
    """Order of telling: smaller is more telling of a cause."""
    blocks: tuple[int, ...] = ()
    """Blocks that it lies in."""
    permutes: bool = False
    """Whether the same numbers stand in another order inside blocks: harmless if all do so
    consistently, which what the model says shows."""
    scale: float | None = None
    """The one number that something was multiplied by."""
    whole: float | None = None
    """Relative change of tensors that differ throughout, or in whole heads; not in some rows."""
    partly: bool = False
    """Whether it tells of some rows or columns alone."""
    folds: bool = False
    """Whether a norm's gain went into other tensors, line by line: harmless if nothing else reads
    it, which what the model says shows."""
    undoes: bool = False
    """Whether other tensors were rescaled against each other, line by line."""
    tensors: int = 1
    """How many tensors it tells of."""


def block_of(name: str) -> int | None:
    """Return the block that a parameter lies in, by the first number in its name."""
    match = _BLOCK.search(name)
    return int(match.group(1)) if match else None


def reads_text(name: str) -> bool:
    """Whether a parameter can have a part in what the model says after a text, by its name."""
    return _OTHER_SENSES.search(name) is None


def listed(items: list[str], most: int = 3) -> str:
    """Join a few of several words."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def spans(numbers: list[int]) -> str:
    """Write whole numbers as runs: ``3, 7 to 9``."""
    runs: list[list[int]] = []
    for one in sorted(numbers):
        if runs and one == runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    words = [str(a) if a == b else f"{a} to {b}" for a, b in runs]
    return listed(words, 4)
