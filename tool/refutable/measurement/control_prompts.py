"""Which prompts a null control is measured on: a few of each family.

A verdict, and the reading of a control, rest on family means and on copies; prompts of one family
count as one unit. Untrained copies differ little from prompt to prompt, so a few prompts of each
family decide as all do, and nineteen copies no longer cost nineteen times what the model itself
costs. The same holds of the model's own prompts with their tokens shuffled. Copies of the shipped
small models read all prompts, as when their evidence was committed.
"""

from __future__ import annotations

from collections import defaultdict

from refutable.models.encode import Encoded
from refutable.models.large import copies_read_less
from refutable.models.spec import ModelSpec
from refutable.records import ModelFacts

ENOUGH = 40
"""Prompts in all, from which on no family gives another one."""


def thinned(role: str, spec: ModelSpec, facts: ModelFacts) -> bool:
    """Whether the copies of a role are measured on some prompts of each family alone."""
    return role.startswith(("untrained-", "shuffled-")) and copies_read_less(spec, facts)


def few_of_each_family(encoded: Encoded, enough: int = ENOUGH) -> Encoded:
    """Keep equally many prompts of each family, spread over its lengths.

    Parameters
    ----------
    encoded : Encoded
        All prompts.
    enough : int
        Prompts in all: a family gives as many as make that number together with the others, at
        least one. Of its prompts by rising length, the middle one of as many equal parts.

    Returns
    -------
    Encoded
        In the order of the set. Families that have no more are kept whole.
    """
    by_family: dict[str, list[int]] = defaultdict(list)
    for place, family in enumerate(encoded.families):
        by_family[family].append(place)
    most = -(-enough // max(len(by_family), 1))
    kept: set[int] = set()
    for indices in by_family.values():
        ordered = sorted(indices, key=lambda place: len(encoded.ids[place]))
        count = min(most, len(ordered))
        kept |= {ordered[(2 * part + 1) * len(ordered) // (2 * count)] for part in range(count)}
    return encoded.only(sorted(kept))
