"""Records of what a run says beyond single results; re-exported by `refutable.records`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Registration:
    """When what a claim says was written down, and what was changed after it was measured."""

    date: str
    before: bool
    """Whether no verdict had been recorded by then."""
    changed: tuple[str, ...] = ()
    """What is not as it was when first measured: the region, the prompts and so on."""


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """Mean over models and how far they scatter about it."""

    value: float
    low: float
    high: float
    predicted_low: float
    """Lower end of where one more model of the kind would lie."""
    predicted_high: float
    tau: float
    """Standard deviation between models, their own uncertainty taken off."""
    i2: float
    """Share of the variance of the estimates that is between models (Higgins and Thompson)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverModels(RandomEffects):
    """One claim over five models or more, which were chosen and not drawn."""

    claim: str
    prompts: str
    arm: str
    models: tuple[str, ...]
    unit: str = ""
    left_out: tuple[str, ...] = ()
    """Models whose estimate has no standard error, such as values that agree."""


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What one part of measuring a model took in this run."""

    what: str
    """The observable, or a part that serves many: ``one pass``, ``instrument check``, ``load``."""
    prompts: str = ""
    """Name of the prompt set; empty where none was read."""
    arm: str = ""
    role: str = ""
    """A copy of the null control, such as ``untrained-3``; empty for the model itself."""
    seconds: float = 0.0
    """Processor time of all threads; it does not grow when other programs are busy."""
    in_model: float | None = None
    """Of it, inside forward and backward passes of the model, with the recorders in them; known
    where the run was asked for a profile."""


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
