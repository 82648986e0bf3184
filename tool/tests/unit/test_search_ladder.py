"""The lengths that an exploration goes through, and how its candidates share passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.planted_tokens import growth_claim, growth_of_long, planted, subject_of

from refutable.capture.packing import Pack, make_rows
from refutable.falsify.beginnings import Beginnings
from refutable.falsify.budget import Meter
from refutable.falsify.explore import Explorer, Trace
from refutable.falsify.ladder import LENGTHS, ladder
from refutable.falsify.objective import Objective, Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids, vocabulary


@given(
    vocab=st.integers(1, 60_000),
    candidates=st.integers(200, 20_000),
    longest=st.integers(1, len(LENGTHS)),
)
def test_lengths_rise_and_none_is_left_out(vocab: int, candidates: int, longest: int) -> None:
    lengths = LENGTHS[:longest]
    spent, rounds = 0, []
    for length, count, covering in ladder(vocab, lengths, candidates, 1000):
        if spent >= candidates:
            break
        assert 0 < count <= 512
        spent += count
        rounds.append((length, covering))
    assert spent >= candidates
    steps = [length for length, _ in rounds]
    first = steps[0]
    once = steps[: steps.index(lengths[-1]) + 1]
    assert once == sorted(once)
    # Below the length that goes through the vocabulary there are the beginnings of candidates.
    assert set(steps) == {n for n in lengths if n >= first}
    assert first == lengths[0] or rounds[0][1]


@pytest.mark.parametrize(("vocab", "covered_by"), [(500, 1), (1500, 2), (3800, 4), (50_000, None)])
def test_the_vocabulary_is_gone_through_with_the_shortest_prompts_that_can(
    vocab: int, covered_by: int | None
) -> None:
    rounds = list(islice(ladder(vocab, LENGTHS, 3000, 3000), 12))
    tokens = sum(length * count for length, count, covering in rounds if covering)
    if covered_by is None:
        assert tokens == 0
        return
    assert vocab <= tokens < vocab + covered_by
    assert {length for length, _, covering in rounds if covering} == {covered_by}


def test_where_beginnings_are_not_scored_short_prompts_are_tried_themselves() -> None:
    rounds = list(islice(ladder(None, LENGTHS, 200, 3000), 12))
    spent = np.cumsum([count for _, count, _ in rounds])
    assert rounds[0][0] == 1
    assert {length for (length, _, _), end in zip(rounds, spent, strict=True) if end <= 200} == set(
        LENGTHS
    )
    assert not any(covering for _, _, covering in rounds)


def test_without_a_number_the_ladder_is_gone_up_again_with_twice_as_many() -> None:
    first: Counter[int] = Counter()
    for length, count, _ in islice(ladder(50_000, LENGTHS, None, 600), 60):
        first[length] += count
    assert set(first) == set(LENGTHS)
    starts = [n for n, _, _ in islice(ladder(50_000, LENGTHS, None, 600), 60)]
    assert sum(a > b for a, b in pairwise(starts)) >= 2


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60), budget=st.integers(9, 40))
def test_rows_hold_every_prompt_once_and_no_padding(lengths: list[int], budget: int) -> None:
    packs = make_rows(lengths, token_budget=budget, width=budget // 2 + 5)
    seen = sorted(i for pack in packs for i in pack.prompts)
    assert seen == list(range(len(lengths)))
    for pack in packs:
        assert pack.tokens == pack.rows * pack.width
        assert pack.tokens <= max(budget, *(lengths[i] for i in pack.prompts))
        for s in pack.segments:
            assert s.length == lengths[s.prompt]
        assert pack.rows == 1 or _whole_rows(pack)


def _whole_rows(pack: Pack) -> bool:
    return sorted(s.row for s in pack.segments) == list(range(pack.rows))


def explored(objective: Objective, domain: Domain, seeds: list[Ids], count: int) -> Trace:
    score = Beginnings(objective, 1)
    explorer = Explorer(
        score,
        domain,
        Meter(count, None),
        np.random.default_rng(0),
        bound=float("inf"),
        fill=not score.problem,
    )
    return explorer.run(seeds)


def test_every_token_is_tried_alone_where_that_is_affordable() -> None:
    objective = Objective(growth_claim(), subject_of(planted([7, 300])))
    domain = Domain(vocabulary(None, objective.subject.loaded.facts))
    tried: set[Ids] = set()
    score = Beginnings(objective, 1)

    def scoring(prompts: Sequence[Ids]) -> list[Scored]:
        tried.update(prompts)
        return score(prompts)

    explorer = Explorer(
        scoring,
        domain,
        Meter(3000, None),
        np.random.default_rng(0),
        bound=float("inf"),
        fill=True,
    )
    trace = explorer.run([])
    assert {(token,) for token in domain.vocabulary.ordered} <= tried
    assert max(map(len, tried)) == domain.max_size
    assert set(trace.best[0].ids) >= {7, 300}
    assert trace.how.total() == 3000


def test_what_says_nothing_of_short_prompts_is_searched_among_long_ones() -> None:
    objective = Objective(growth_of_long(10), subject_of(planted([7, 300])))
    domain = Domain(vocabulary(None, objective.subject.loaded.facts))
    trace = explored(objective, domain, [tuple(range(20, 36))], 600)
    # Two probes of each length below ten are all that is lost.
    assert objective.undefined <= 12
    assert set(trace.best[0].ids) >= {7, 300}
    assert all(len(one.ids) >= 10 for one in trace.best)
