"""What a fresh sample of fixed size bounds, on models whose violations are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta
from support.planted_tokens import VOCAB, growth_claim, planted, subject_of

from refutable.errors import RefutableError
from refutable.falsify import by_hypothesis
from refutable.falsify.certify import sample
from refutable.falsify.objective import Objective, Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids, vocabulary
from refutable.stats.decide import certified

BOUND = 0.005


def prepared(tokens: list[int], **how: Any) -> tuple[Objective, Domain]:
    subject = subject_of(planted(tokens, **how))
    return Objective(growth_claim(), subject), Domain(vocabulary(None, subject.loaded.facts))


@pytest.mark.parametrize("draws", [30, 299, 700])
def test_where_nothing_violates_the_bound_is_the_exact_one(draws: int) -> None:
    objective, domain = prepared([3, 5], holds=True)
    drawn = sample(objective, domain.vocabulary, draws, bound=BOUND, seed=1)
    assert drawn.draws == draws
    assert drawn.violations == ()
    said = certified(0, draws, share=0.01).reason
    # The upper end of Clopper and Pearson's one-sided interval of nothing in so many draws.
    assert f"at most {beta.ppf(0.95, 1, draws):.2%}" in said


def test_violations_are_counted_among_independent_draws_of_the_frozen_generator() -> None:
    objective, domain = prepared([7])
    drawn = sample(objective, domain.vocabulary, 600, bound=BOUND, seed=2)
    assert all(7 in one.ids for one in drawn.violations)
    # A prompt of n tokens holds the one of 511 with probability 1 - (510 / 511)^n, n of 2 to 16.
    expected = np.mean([1 - (1 - 1 / (VOCAB - 1)) ** n for n in range(2, 17)])
    count = len(drawn.violations)
    low, high = beta.ppf(0.0005, count, 601 - count), beta.ppf(0.9995, count + 1, 600 - count)
    assert low <= expected <= high
    again = sample(objective, domain.vocabulary, 600, bound=BOUND, seed=2)
    assert again == drawn
    assert sample(objective, domain.vocabulary, 600, bound=BOUND, seed=3) != drawn
    said = certified(count, 600, share=0.01).reason
    assert f"{count} of 600" in said
    assert f"{beta.ppf(0.975, count + 1, 600 - count):.2%} of all" in said


def test_health_checks_are_on_and_told() -> None:
    """Hypothesis ends a search in which nearly nothing can be judged; nobody silences it."""
    _, domain = prepared([3])

    def nothing(prompts: Sequence[Ids]) -> list[Scored]:
        return [Scored(ids, float("-inf"), float("nan")) for ids in prompts]

    done = by_hypothesis.search(nothing, domain, [(1, 2)], bound=BOUND, examples=60, seed=0)
    assert done.violation is None
    assert "FailedHealthCheck" in done.problem or "Unsatisfiable" in done.problem


def test_hypothesis_finds_what_an_edit_of_the_best_gives() -> None:
    objective, domain = prepared([7])
    done = by_hypothesis.search(objective, domain, [(4, 7)], bound=BOUND, examples=60, seed=0)
    assert done.problem == ""
    assert done.violation is not None
    assert 7 in done.violation.ids


def test_a_claim_with_hardly_any_domain_is_not_certified() -> None:
    objective, domain = prepared([3])

    class Nowhere(Objective):
        def __call__(self, prompts: Any, **how: Any) -> list[Scored]:
            return [Scored(ids, float("-inf"), float("nan")) for ids in prompts]

    nowhere = Nowhere(objective.claim, objective.subject)
    with pytest.raises(RefutableError, match="cannot be certified"):
        sample(nowhere, domain.vocabulary, 50, bound=BOUND, seed=0)
