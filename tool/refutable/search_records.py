"""Plain records of a counterexample and of the search for one; part of `refutable.records`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counterexample:
    """One prompt that violates a universal claim."""

    prompt: str
    value: float
    family: str = ""
    origin: str = "observed"
    """``observed`` in the prompt set, ``replayed`` from what is stored, or ``searched``."""
    ids: tuple[int, ...] = ()
    """Token ids that were fed, BOS included; empty where only the text is known."""
    how: str = ""
    """Where the first violating prompt came from, e.g. ``gradient``; empty without a search."""
    tokens: int = 0
    """Number of its tokens, a BOS token in front not counted; 0 where only the text is known."""
    tokens_before: int = 0
    """Tokens of the first violating prompt, before it was shrunk; 0 without a search."""
    minimal: bool = False
    """Whether no token can be left out or made simpler in the stated order."""
    verified: bool = False
    """Whether the value comes from this prompt alone, unpacked, in float32."""


@dataclass(frozen=True, slots=True)
class SearchReport:
    """How a claim was attacked on one model."""

    budget: str
    """As asked for: a number of candidates, seconds, or ``default``."""
    seed: int = 0
    candidates: int = 0
    """Candidates scored to find a violation."""
    how: Mapping[str, int] = field(default_factory=dict)
    """Of these, how many by where they came from."""
    shrinking: int = 0
    """Candidates scored to make what was found smaller."""
    scored: int = 0
    """Prompts scored in all: the candidates, and their beginnings in the same passes."""
    undefined: int = 0
    """Candidates for which the body gave no finite value."""
    worst: Counterexample | None = None
    """The prompt nearest to a violation, or furthest beyond; scored packed with others."""
    reason: str = ""
    """Why the claim was not attacked."""
    certificate: str = ""
    """What a fresh sample of fixed size bounds."""
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """One line for each stored counterexample that holds no longer."""
