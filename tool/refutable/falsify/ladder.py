"""How long the candidates of an exploration are: short ones first, long ones later and few.

The smallest counterexample is looked for, and a short candidate costs less. So an exploration goes
up a ladder of lengths. Every rung gets the same number of tokens, so that candidates are as many as
they are short, and no length is left out: what violates only behind many tokens is met on the upper
rungs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from math import ceil

LENGTHS = (1, 2, 3, 4, 6, 10, 16, 24)
_COVERED = 1 / 3
"""Share of the candidates that may be spent on going through the vocabulary once."""
_ROUND_SHARE = 6
_ROUND = (32, 512)
"""A round is this part of the budget, within these limits: less would leave passes half empty, more
would try too much before what was learnt is used."""


def ladder(
    vocabulary: int | None, lengths: tuple[int, ...], candidates: int | None, default: int
) -> Iterator[tuple[int, int, bool]]:
    """Give the rounds of an exploration.

    Parameters
    ----------
    vocabulary : int or None
        Number of tokens to go through first; ``None`` where the beginnings of candidates are not
        scored: lengths below that of the first candidates would then be left out.
    lengths : tuple of int
        Rungs, rising.
    candidates : int or None
        To be spent; without a number the ladder is gone up again and again, with `default`
        candidates at first and twice as many each time.
    default : int
        See `candidates`.

    Yields
    ------
    tuple of int, int and bool
        Tokens of the longest candidates of a round, number of its candidates, and whether all are
        for going through the vocabulary. Where a third of the candidates can go through the whole
        vocabulary, the shortest prompts that do are tried first, and the ladder begins there: the
        beginnings of candidates are shorter prompts.
    """
    if candidates is not None:
        yield from _once(vocabulary, lengths, candidates)
        # What duplicates left of the number is spent on the longest.
        while True:
            yield from ((n, _ROUND[0], False) for n in lengths[-2:])
    while True:
        yield from _once(vocabulary, lengths, default)
        default *= 2


def _once(
    vocabulary: int | None, lengths: tuple[int, ...], candidates: int
) -> Iterator[tuple[int, int, bool]]:
    size = min(max(candidates // _ROUND_SHARE, _ROUND[0]), _ROUND[1])
    wanted = 0 if vocabulary is None else vocabulary
    covering = next((n for n in lengths if 0 < wanted <= n * candidates * _COVERED), None)
    left = candidates
    if covering is not None:
        count = ceil(wanted / covering)
        left -= count
        # One token at a time, every prompt of that length is tried then.
        lengths = tuple(n for n in lengths if n > covering or n == covering > 1) or (covering,)
        yield from ((covering, part, True) for part in _parts(count, size))
    shares = [0.0, *accumulate(1 / n for n in lengths)]
    ends = [round(left * share / shares[-1]) for share in shares]
    for n, start, end in zip(lengths, ends, ends[1:], strict=False):
        yield from ((n, part, False) for part in _parts(end - start, size))


def _parts(count: int, size: int) -> Iterator[int]:
    """Cut a count into rounds of like size."""
    parts = ceil(count / size)
    yield from (count * (k + 1) // parts - count * k // parts for k in range(parts))
