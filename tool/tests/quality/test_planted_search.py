"""The search on models whose counterexamples are known, beside plain random and plain Hypothesis.

Only prompts that hold every one of two or three chosen tokens, of 512, violate the claim; each of
them alone raises the value by its share of the way. Fewer runs than docs/falsification.md reports
(100 of each), so that they take little time.
"""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from support.planted_tokens import VOCAB, growth_claim, planted, subject_of

from refutable.falsify.budget import DEFAULT, Budget
from refutable.falsify.objective import Objective
from refutable.falsify.proposals import Domain
from refutable.falsify.search import Search, Searched
from refutable.falsify.strategies import ids_of
from refutable.falsify.vocabulary import Ids, vocabulary

pytestmark = pytest.mark.slow
BOUND = 0.005


def chosen(seed: int, count: int) -> list[int]:
    source = np.random.default_rng(seed)
    return [int(i) for i in source.choice(np.arange(1, VOCAB), count, replace=False)]


def prepared(tokens: Sequence[int], seed: int, *, holds: bool = False) -> tuple[Objective, Domain]:
    subject = subject_of(planted(tokens, holds=holds, seed=seed))
    domain = Domain(vocabulary(None, subject.loaded.facts))
    return Objective(growth_claim(), subject), domain


def seeds(seed: int) -> list[Ids]:
    source = np.random.default_rng(seed + 1000)
    return [tuple(map(int, source.integers(1, VOCAB, source.integers(4, 12)))) for _ in range(16)]


def searched(tokens: Sequence[int], seed: int, *, holds: bool = False) -> Searched:
    objective, domain = prepared(tokens, seed, holds=holds)
    return Search(objective, domain, bound=BOUND, seed=seed).run(seeds(seed), Budget())


def found_exactly(count: int, runs: int) -> int:
    exact = 0
    for seed in range(runs):
        tokens = chosen(seed, count)
        violation = searched(tokens, seed).violation
        if violation is not None:
            assert violation.complete
            assert violation.scored.margin > BOUND
            exact += sorted(violation.scored.ids) == sorted(tokens)
    return exact


def test_a_planted_pair_is_found_and_shrunk_to_exactly_it() -> None:
    assert found_exactly(2, 40) >= 38


def test_a_planted_triple_is_found_and_shrunk_to_exactly_it() -> None:
    assert found_exactly(3, 30) >= 24


def test_nothing_is_found_where_nothing_violates() -> None:
    for seed in range(8):
        tokens = chosen(seed, 2)
        result = searched(tokens, seed, holds=True)
        assert result.violation is None
        assert result.candidates == DEFAULT
        # It came as near as there is: both tokens are in the worst prompt.
        assert set(tokens) <= set(result.worst.ids)


def plain_random(objective: Objective, domain: Domain, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    batch = [
        tuple(map(int, rng.integers(1, VOCAB, rng.integers(1, domain.max_size + 1))))
        for _ in range(DEFAULT)
    ]
    return max(one.margin for one in objective(batch)) > BOUND


def plain_hypothesis(objective: Objective, domain: Domain, seed: int) -> bool:
    """An ordinary Hypothesis test: one forward pass for each example, and no target."""
    measured: list[float] = []

    @hypothesis.seed(seed)
    @settings(max_examples=DEFAULT, database=None, deadline=None, phases=(Phase.generate,))
    @given(ids_of(domain.vocabulary, domain.min_size, domain.max_size))
    def one(ids: Ids) -> None:
        measured.append(objective([ids])[0].margin)

    one()
    return max(measured) > BOUND


def test_exploration_finds_what_plain_search_on_the_same_budget_does_not() -> None:
    runs = range(3)
    plain = {plain_random: 0, plain_hypothesis: 0}
    for search in plain:
        for seed in runs:
            plain[search] += search(*prepared(chosen(seed, 3), seed), seed)
    explored = sum(searched(chosen(seed, 3), seed).violation is not None for seed in runs)
    assert explored == 3
    assert max(plain.values()) <= 1
