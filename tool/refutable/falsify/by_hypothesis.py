"""The last part of a search: Hypothesis, from the best prompts that exploration met."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids

_LABEL = "margin"


class _FoundError(Exception):
    """Ends a Hypothesis run at the first violation; shrinking is done in batches elsewhere."""


def search(
    score: Callable[[Sequence[Ids]], list[Scored]],
    domain: Domain,
    best: Sequence[Ids],
    *,
    bound: float,
    examples: int,
    seed: int,
) -> Scored | None:
    """Let Hypothesis look for a violation, its examples targeted at a large margin.

    Parameters
    ----------
    score : callable
        Gives the margin of each prompt of a batch; here of one at a time.
    domain : Domain
        Which prompts may be tried.
    best : sequence of tuple of int
        Prompts to begin with; examples are edits of them, and fresh prompts.
    bound : float
        A margin above this is a violation.
    examples : int
        How many to try at most.
    seed : int
        Of Hypothesis' choices.

    Returns
    -------
    Scored or None
        The first prompt that violates.
    """
    import hypothesis
    from hypothesis import strategies as st

    from refutable.falsify.strategies import edits_of, ids_of

    met: list[Scored] = []
    fresh = ids_of(domain.vocabulary, domain.min_size, domain.max_size)
    starts = [domain.cut(ids) for ids in best]
    edited = [st.just(starts).flatmap(st.sampled_from).flatmap(
        lambda ids: edits_of(ids, vocabulary=domain.vocabulary)
    )] if starts else []  # fmt: skip

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=max(1, examples),
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.target),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @hypothesis.given(st.one_of(*edited, fresh))
    def one(ids: Ids) -> None:
        hypothesis.assume(domain.allows(ids))
        found = score([ids])
        hypothesis.assume(bool(found) and found[0].margin > float("-inf"))
        hypothesis.target(found[0].margin, label=_LABEL)
        if found[0].margin > bound:
            met.append(found[0])
            raise _FoundError

    try:
        one()
    except _FoundError:
        return met[0]
    return None
