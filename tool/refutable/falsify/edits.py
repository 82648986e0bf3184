"""Edits of a prompt as Hypothesis strategies: of token ids and of words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refutable.falsify.vocabulary import Ids

T = TypeVar("T")
"""A word of a text, or a token id."""
Kind = Callable[[tuple[T, ...], DrawFn, Sequence[T]], tuple[T, ...]]
Words = tuple[str, ...]

CODE = ("()", "{}", "[0]", "x = 1", "if x:", "return", "#", "//", "==", "\\n", "<br>", "None")
"""What an edit puts in to make a text look like a program's."""


def _drop(parts: tuple[T, ...], draw: DrawFn, others: Sequence[T]) -> tuple[T, ...]:
    if len(parts) == 1:
        return (*parts, draw(st.sampled_from(others)))
    at = draw(st.integers(0, len(parts) - 1))
    return (*parts[:at], *parts[at + 1 :])


def _swap(parts: tuple[T, ...], draw: DrawFn, others: Sequence[T]) -> tuple[T, ...]:
    if len(parts) == 1:
        return _insert(parts, draw, others)
    at = draw(st.integers(0, len(parts) - 2))
    return (*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :])


def _repeat(parts: tuple[T, ...], draw: DrawFn, others: Sequence[T]) -> tuple[T, ...]:
    at = draw(st.integers(0, len(parts) - 1))
    return (*parts[: at + 1], *parts[at:])


def _insert(parts: tuple[T, ...], draw: DrawFn, others: Sequence[T]) -> tuple[T, ...]:
    at = draw(st.integers(0, len(parts)))
    return (*parts[:at], draw(st.sampled_from(others)), *parts[at:])


def _replace(parts: tuple[T, ...], draw: DrawFn, others: Sequence[T]) -> tuple[T, ...]:
    at = draw(st.integers(0, len(parts) - 1))
    return (*parts[:at], draw(st.sampled_from(others)), *parts[at + 1 :])


def _case(parts: Words, draw: DrawFn, others: Sequence[str]) -> Words:
    at = draw(st.integers(0, len(parts) - 1))
    change = draw(st.sampled_from((str.lower, str.upper, str.capitalize, str.swapcase)))
    return (*parts[:at], change(parts[at]), *parts[at + 1 :])


def _digits(parts: Words, draw: DrawFn, others: Sequence[str]) -> Words:
    number = str(draw(st.integers(0, 10**6)))
    at = draw(st.integers(0, len(parts)))
    return (*parts[:at], number, *parts[at:])


def _code(parts: Words, draw: DrawFn, others: Sequence[str]) -> Words:
    at = draw(st.integers(0, len(parts)))
    return (*parts[:at], draw(st.sampled_from(CODE)), *parts[at:])


OF_IDS = (_drop, _replace, _insert, _swap, _repeat)
OF_TEXT = (_drop, _swap, _repeat, _insert, _case, _digits, _code)


@st.composite
def _edited(
    draw: DrawFn, parts: tuple[T, ...], others: Sequence[T], kinds: Sequence[Kind[T]], most: int
) -> tuple[T, ...]:
    for _ in range(draw(st.integers(1, most))):
        parts = draw(st.sampled_from(kinds))(parts, draw, others)
    return parts


def of_ids(ids: Ids, others: Sequence[int], most: int) -> SearchStrategy[Ids]:
    """Edits of token ids; `others` are the tokens that may come in."""
    return _edited(ids, others, OF_IDS, most)


def of_text(text: str, most: int) -> SearchStrategy[str]:
    """Edits of a text, word by word; words that come in are the text's own."""
    words = tuple(text.split(" "))
    others = tuple(word for word in words if word.strip())
    return _edited(words, others, OF_TEXT, most).map(" ".join).filter(lambda made: made.strip())
