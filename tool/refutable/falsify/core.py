"""The core of a prompt: what is left when every token that does not matter is dropped.

A prompt of many tokens tells little about which of them raise the margin. Its core is found by
dropping stretches and single tokens, many a pass, as long as most of the margin stays. Extended by
the tokens of the vocabulary in turn, it then shows which others raise it further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Coverage, Domain
from refutable.falsify.vocabulary import Ids

_GIVEN_UP = 0.1
"""Share of what a prompt has above the usual margin that dropping tokens may cost in all."""
_CHUNK = 16


def deletions(ids: Ids, least: int) -> list[Ids]:
    """Return a prompt without its halves, its quarters and each single token, never too short."""
    made: dict[Ids, None] = {}
    for parts in (2, 4):
        width = len(ids) // parts
        if width > 1:
            for start in range(0, len(ids), width):
                made[(*ids[:start], *ids[start + width :])] = None
    for at in range(len(ids)):
        made[(*ids[:at], *ids[at + 1 :])] = None
    return [one for one in made if len(one) >= least]


def shorter(start: Scored, usual: float, scored: Sequence[Scored]) -> Scored | None:
    """Return the shortest of a prompt's deletions whose margin stays near the prompt's own.

    Parameters
    ----------
    start : Scored
        The prompt.
    usual : float
        The margin of prompts that hold nothing special.
    scored : sequence of Scored
        What was scored of the prompt's deletions.

    Returns
    -------
    Scored or None
        ``None`` where each token that was dropped matters: the prompt is a core.
    """
    floor = start.margin - _GIVEN_UP * max(0.0, start.margin - usual)
    good = [one for one in scored if one.margin >= floor]
    return min(good, key=lambda one: (len(one.ids), -one.margin), default=None)


@dataclass(slots=True)
class _Core:
    scored: Scored
    coverage: Coverage
    tried: int = 0


class Cores:
    """The cores met so far and how far the vocabulary was gone through behind each.

    Parameters
    ----------
    domain : Domain
        Which prompts may be tried.
    rng : numpy.random.Generator
        Shuffles vocabularies and draws the side on which tokens are added.
    """

    def __init__(self, domain: Domain, rng: np.random.Generator) -> None:
        self._domain = domain
        self._rng = rng
        self._known: dict[Ids, _Core] = {}

    def add(self, core: Scored) -> None:
        """Take up a core, unless it is known."""
        if core.ids not in self._known and len(core.ids) < self._domain.max_size:
            self._known[core.ids] = _Core(core, Coverage(self._domain, self._rng))

    def extensions(self, count: int, length: int) -> list[Ids]:
        """Return cores with tokens added: of the best, until all tokens had their turn there.

        Parameters
        ----------
        count : int
            How many.
        length : int
            Tokens of each.
        """
        short = [core for ids, core in self._known.items() if len(ids) < length]
        made: list[Ids] = []
        size = len(self._domain.vocabulary)
        while short and len(made) < count:
            # Going through the vocabulary once more ranks behind a worse core that has not been.
            core = min(short, key=lambda c: (c.tried // size, -c.scored.margin))
            ids = core.scored.ids
            width = min(_CHUNK, length - len(ids))
            for _ in range(min(count - len(made), max(1, (size - core.tried % size) // width))):
                chunk = core.coverage.take(width)
                core.tried += width
                made.append((*ids, *chunk) if self._rng.random() < 0.5 else (*chunk, *ids))
        return made
