"""The last part of a search: Hypothesis, from the best prompts that exploration met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refutable.falsify.objective import Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids

_LABEL = "margin"


@dataclass(frozen=True, slots=True)
class Targeted:
    """What a run of Hypothesis came to."""

    violation: Scored | None = None
    """The first prompt that violates."""
    problem: str = ""
    """Why Hypothesis ended before its examples were spent, such as a health check; else empty."""


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
) -> Targeted:
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
    Targeted
        The first prompt that violates. Health checks are all on: one that fails ends the search
        and is told.
    """
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.errors import FailedHealthCheck, Unsatisfiable

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
        scored = score([ids])
        hypothesis.assume(bool(scored) and scored[0].margin > float("-inf"))
        hypothesis.target(scored[0].margin, label=_LABEL)
        if scored[0].margin > bound:
            met.append(scored[0])
            raise _FoundError

    try:
        one()
    except _FoundError:
        return Targeted(met[0])
    except (FailedHealthCheck, Unsatisfiable) as problem:
        return Targeted(problem=f"{type(problem).__name__}: {problem}".split("\n")[0][:200])
    return Targeted()
