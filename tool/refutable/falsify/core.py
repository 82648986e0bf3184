"""The core of a prompt: what is left when every token that does not matter is dropped.

A prompt of many tokens tells little about which of them raise the margin. Its core is found by
dropping stretches and single tokens, many a pass, as long as most of the margin stays. Extended by
the tokens of the vocabulary in turn, a dozen at once, it then shows which others raise it further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def reduce_to_core(
    start: Scored, usual: float, score: Callable[[Sequence[Ids]], list[Scored]], least: int
) -> Scored:
    """Drop tokens as long as the margin stays near where it was.

    Parameters
    ----------
    start : Scored
        The prompt.
    usual : float
        The margin of prompts that hold nothing special.
    score : callable
        Scores a batch; it may return fewer when the budget is spent.
    least : int
        Tokens that must stay.
    """
    floor = start.margin - _GIVEN_UP * max(0.0, start.margin - usual)
    core = start
    while len(core.ids) > least:
        scored = score(deletions(core.ids, least))
        good = [one for one in scored if one.margin >= floor]
        if not good:
            break
        single = {len(core.ids) - 1}
        free = [one for one in good if len(one.ids) in single]
        if len(free) > 1:
            # Tokens that can each be dropped can most often be dropped together.
            together = _without_all(core.ids, free)
            if len(together) >= least:
                good += [one for one in score([together]) if one.margin >= floor]
        core = min(good, key=lambda one: (len(one.ids), -one.margin))
    return core


def _without_all(ids: Ids, free: Sequence[Scored]) -> Ids:
    """Return a prompt without every token that one of `free` lacks."""
    gone = set()
    for one in free:
        at = next((i for i, (a, b) in enumerate(zip(ids, one.ids, strict=False)) if a != b), None)
        gone.add(len(ids) - 1 if at is None else at)
    return tuple(t for i, t in enumerate(ids) if i not in gone)


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

    def extensions(self, count: int) -> list[Ids]:
        """Return cores with tokens added: of the best, until all tokens had their turn there."""
        if not self._known:
            return []
        size = len(self._domain.vocabulary)
        # Going through the vocabulary once more ranks behind a worse core that has not been.
        core = min(self._known.values(), key=lambda c: (c.tried // size, -c.scored.margin))
        ids = core.scored.ids
        width = min(_CHUNK, self._domain.max_size - len(ids))
        made = []
        for _ in range(count):
            chunk = core.coverage.take(width)
            core.tried += width
            made.append((*ids, *chunk) if self._rng.random() < 0.5 else (*chunk, *ids))
        return made
