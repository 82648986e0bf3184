"""Sentences from small grammars: plain English that no prompt set holds."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

SINGULAR = ("cat", "doctor", "river", "old key", "red car", "student", "small engine")
PLURAL = ("cats", "doctors", "rivers", "old keys", "red cars", "students", "small engines")
WHERE = ("near the station", "on the table", "under the bridge", "in the next town", "at home")
VERBS = (("waits", "wait"), ("turns", "turn"), ("falls", "fall"), ("looks tired", "look tired"))
ACTS = (("sees", "see"), ("follows", "follow"), ("needs", "need"), ("forgets", "forget"))
WHEN = ("", "Today ", "After the rain ", "In 1987 ", "Perhaps ", "Every morning ")
NAMES = ("Ada", "Ben", "Chidi", "Mrs. Lee", "Olga")
ENDS = (".", "", "!", " and then")

_number = st.integers(0, 999)


@st.composite
def _statement(draw: st.DrawFn) -> str:
    plural = draw(st.booleans())
    noun = draw(st.sampled_from(PLURAL if plural else SINGULAR))
    place = draw(st.sampled_from(("", *WHERE)))
    verb = draw(st.sampled_from(VERBS))[plural]
    when = draw(st.sampled_from(WHEN))
    start = f"{when}the {noun}" if when else f"The {noun}"
    return f"{start} {place + ' ' if place else ''}{verb}{draw(st.sampled_from(ENDS))}"


@st.composite
def _transitive(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(NAMES))
    verb = draw(st.sampled_from(ACTS))[0]
    noun = draw(st.sampled_from(SINGULAR + PLURAL))
    return f"{name} {verb} the {noun}{draw(st.sampled_from(ENDS))}"


@st.composite
def _nested(draw: st.DrawFn) -> str:
    """Subject and verb apart by a clause of another number."""
    plural = draw(st.booleans())
    outer = draw(st.sampled_from(PLURAL if plural else SINGULAR))
    inner = draw(st.sampled_from(SINGULAR if plural else PLURAL))
    act = draw(st.sampled_from(ACTS))[not plural]
    verb = draw(st.sampled_from(VERBS))[plural]
    return f"The {outer} that the {inner} {act} {verb}{draw(st.sampled_from(ENDS))}"


@st.composite
def _question(draw: st.DrawFn) -> str:
    noun = draw(st.sampled_from(SINGULAR))
    place = draw(st.sampled_from(WHERE))
    return draw(
        st.sampled_from(
            (f"Where is the {noun}?", f"Is the {noun} {place}?", f"Why is the {noun} {place}?")
        )
    )


@st.composite
def _sum(draw: st.DrawFn) -> str:
    a, b = draw(_number), draw(_number)
    return draw(st.sampled_from((f"{a} + {b} =", f"{a} times {b} is", f"If x = {a}, then x + {b}")))


def sentences() -> SearchStrategy[str]:
    """Sentences from small grammars.

    Returns
    -------
    SearchStrategy of str
        Statements, sentences with an object, sentences whose subject and verb lie apart, questions
        and sums; shrinks to the first of these with its first words.
    """
    return st.one_of(_statement(), _transitive(), _nested(), _question(), _sum())
