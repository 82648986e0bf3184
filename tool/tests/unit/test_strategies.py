"""The public strategies on the embedded model: an ordinary Hypothesis test in ten lines."""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings

from refutable import observe, strategies
from refutable.errors import PromptError
from refutable.falsify.strategies import vocabulary_of
from refutable.falsify.vocabulary import decode, encode

MODEL = "tiny-layernorm"


@settings(max_examples=15)
@given(strategies.token_ids(MODEL, min_size=2, max_size=5))
def test_token_ids_are_ordinary_tokens(ids: tuple[int, ...]) -> None:
    words = vocabulary_of(MODEL)
    assert 2 <= len(ids) <= 5
    assert not set(ids) & words.special


def test_shrinking_ends_at_the_simplest_tokens() -> None:
    words = vocabulary_of(MODEL)
    shrunk = find(strategies.token_ids(MODEL, max_size=6), lambda ids: len(ids) >= 2)
    assert shrunk == (words.ordered[0],) * 2


@settings(max_examples=15)
@given(strategies.prompts(MODEL, max_size=8))
def test_prompts_survive_the_tokenizer(text: str) -> None:
    tokenizer = vocabulary_of(MODEL).tokenizer
    ids = encode(tokenizer, text)
    assert 1 <= len(ids) <= 8
    assert decode(tokenizer, ids) == text


@settings(max_examples=30)
@given(strategies.edits_of("In 1987 the cat waits"), strategies.edits_of([4, 5, 6]))
def test_edits_leave_something_of_the_same_kind(text: str, ids: tuple[int, ...]) -> None:
    assert text.strip()
    assert ids
    assert set(ids) <= {4, 5, 6}


@settings(max_examples=30)
@given(strategies.sentences())
def test_sentences_are_one_line_of_words(text: str) -> None:
    assert text == text.strip()
    assert len(text.split()) >= 3


def test_a_refuted_property_is_shrunk_by_hypothesis_as_everywhere() -> None:
    @settings(max_examples=60, database=None)
    @given(strategies.token_ids(MODEL, min_size=2, max_size=4))
    def every_prompt_dampens(ids: tuple[int, ...]) -> None:
        growth = observe(MODEL, [ids], "log_growth", check=False)["log_growth"]
        assert float(growth.isel(prompt=0, layer=-1)) < 0.005

    with pytest.raises(AssertionError) as caught:
        every_prompt_dampens()
    # Shrunk to the least size, and told as Hypothesis tells its failures.
    told = "\n".join(caught.value.__notes__)
    assert "ids=(" in told


def test_sizes_that_leave_nothing_are_refused() -> None:
    with pytest.raises(PromptError, match="min_size"):
        strategies.token_ids(MODEL, min_size=3, max_size=2)
    with pytest.raises(PromptError, match="empty"):
        strategies.edits_of(" ")
