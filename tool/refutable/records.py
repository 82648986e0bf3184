"""Plain records of what was asked, measured and decided; they have no behaviour.

`refutable.evidence.json` turns them into the versioned ``evidence.json`` and back.
Unbounded or undefined numbers are ``None``, never NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from refutable.run_records import Counterexample as Counterexample
from refutable.run_records import MeasuringCost as MeasuringCost
from refutable.run_records import OverModels as OverModels
from refutable.run_records import RandomEffects as RandomEffects
from refutable.run_records import Registration as Registration
from refutable.run_records import SearchReport as SearchReport

SCHEMA = "refutable.evidence/2"

RANKED = "ranked"
"""Attribute of a rank: its order in words, and the numbers that were ranked, the model's first."""


class Verdict(StrEnum):
    """What an interval against a region says about a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


class How(StrEnum):
    """What a refutation shows instead of the claim, read off the interval that refuted it."""

    OPPOSITE = "opposite"
    """An effect of the other sign."""
    NEGLIGIBLE = "negligible"
    """An effect inside plus and minus the smallest one of interest."""
    SMALLER = "smaller"
    """Less than was asked for; the sign may be as claimed."""
    COUNTEREXAMPLE = "counterexample"
    """One case that a statement about all of them does not allow."""
    NOT_AS_STATED = "not as stated"
    """A value outside a region that is no matter of sign."""


class Outcome(StrEnum):
    """What became of the test that carried the claim."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


class Reading(StrEnum):
    """What the null control says: whether the measurement tells the model from its control."""

    INFORMATIVE = "informative"
    UNINFORMATIVE = "uninformative"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Region:
    """An open interval of values that a claim predicts; ``None`` is unbounded."""

    low: float | None = None
    high: float | None = None


Plain = bool | int | float | str | None
Parameter = Plain | tuple[Plain | tuple[Plain, ...], ...]
"""What a parameter of a prediction may be: plain JSON."""


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """What a claim predicts as fields: programs read these, people read the sentence beside it."""

    kind: str
    """The word of the vocabulary, e.g. ``mean``, ``share`` or ``contrast``."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """``low`` and ``high``, the ends of the predicted region, and what else the word has: of
    ``share`` the limit ``over``, of ``trend`` the dim ``over``, of comparisons the ``names`` and
    the training seeds ``left_out``."""

    @property
    def region(self) -> Region:
        """The predicted region."""
        low, high = (_number(self.parameters.get(end)) for end in ("low", "high"))
        return Region(low, high)


def _number(value: Parameter) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured quantity with its interval."""

    value: float | None
    low: float | None
    """Lower end of the two-sided interval, widened by the instrument's error."""
    high: float | None
    level: float = 0.95
    unit: str = ""
    method: str = ""
    """How the interval was made, e.g. ``t on family means``."""
    n: int = 0
    """Prompts (observations) behind the estimate."""
    clusters: int = 0
    """Prompt families, the units of the interval."""
    seeds: int = 0
    """Training or initialisation seeds, where they are units too."""
    sd: float | None = None
    """Standard deviation between units (family means)."""
    df: float | None = None
    error: float = 0.0
    """The instrument's measured error, by which the interval was widened."""
    check_low: float | None = None
    """The studentized family bootstrap beside the t interval."""
    check_high: float | None = None
    p: float | None = None
    """Smallest level at which the verdict would still be made."""
    p_adjusted: float | None = None
    """Holm over claims x models of the run."""
    part: str = ""
    """Which part of a claim with several parts this is, e.g. ``within families``."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with the one reason that led to it."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Replication:
    """The study's own procedure, computed as published, for comparison only."""

    statement: str
    estimate: Estimate
    region: Region
    reading: str
    """What that procedure would conclude, in words."""
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Control:
    """The null control: the same body where the claim should say nothing."""

    kind: str
    """``untrained``, ``shuffled``, ``gaussian``, ..."""
    models: tuple[str, ...]
    estimate: Estimate | None
    contrast: Estimate | None
    """Model minus control, paired by family, with the two-way interval."""
    reading: Reading | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentCheck:
    """One check of the measuring instrument on one model."""

    name: str
    passed: bool
    value: float | None = None
    bound: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model from its config and modules, before anything is measured."""

    id: str
    architecture: str
    norm_kind: str
    """``LayerNorm``, ``RMSNorm``, ``none`` or ``mixed``, read from the modules."""
    blocks: int
    heads: int
    d_model: int
    d_vocab: int
    context: int
    parameters: int
    """Unique parameters; a tied tensor counts once."""
    tied: bool
    positions: str
    """``learned``, ``rotary``, ``alibi``, ``sinusoidal`` or ``none``."""
    attention_interface: bool
    """Whether attention goes through transformers' attention interface."""
    bos: int | None
    """Token id that a BOS arm puts first; ``None`` when the tokenizer has none."""
    tokenizer: bool
    tags: tuple[str, ...] = ()
    group: str = ""
    """Models that differ in the seed alone share a group."""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model of the run and how it was measured."""

    id: str
    source: str
    weights_digest: str
    tokenizer_digest: str
    facts: ModelFacts | None
    device: str = ""
    dtype: str = ""
    layout: str = ""
    """``packed``, ``padded`` or ``single``: how prompts were batched after the check."""
    attention: str = ""
    checks: tuple[InstrumentCheck, ...] = ()
    error: str = ""
    origin: str = "live"
    """``live``, ``store`` or ``committed``."""
    seconds: float = 0.0
    costs: tuple[MeasuringCost, ...] = ()
    """What was measured in this run, part by part; nothing where all came from the store."""


@dataclass(frozen=True, slots=True)
class ClaimReport:
    """What a claim says, apart from any model."""

    id: str
    study: str
    ref: str
    kind: str
    """``observational``, ``interventional``, ``probing``, ``weights`` or ``training``."""
    statement: str
    refuted_if: str
    quantity: str
    """First line of the body's docstring: what is measured."""
    predicted: str
    """The prediction in words, e.g. ``mean over families below -0.02``; nothing reads it back."""
    prediction: PredictionRecord
    unit: str = ""
    sesoi: float | None = None
    margin: float | None = None
    """Smallest difference between two releases that the gate calls a change."""
    applies_to: str = ""
    control: str = ""
    citation: str = ""
    sampled: bool = True
    """False for exact facts (weights, counts), which have no p and no multiplicity."""
    no_control: str = ""
    """Why it has no null control."""
    advisory: bool = False
    """Whether the gate tells of a change and lets it pass."""

    @property
    def region(self) -> Region:
        """The predicted region."""
        return self.prediction.region


@dataclass(frozen=True, slots=True)
class PromptSetReport:
    """The prompts of the run."""

    name: str
    content_hash: str
    n: int
    families: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One claim on one model (or model group), prompt set and arm."""

    claim: str
    study: str
    ref: str
    kind: str
    model: str
    prompts: str
    arm: str
    outcome: Outcome
    verdict: Verdict | None = None
    expected: Verdict | None = None
    """The verdict recorded in the baseline; ``None`` when none is."""
    reason: str = ""
    estimate: Estimate | None = None
    parts: tuple[Estimate, ...] = ()
    control: Control | None = None
    replication: Replication | None = None
    counterexample: Counterexample | None = None
    search: SearchReport | None = None
    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    source: str = "live"
    """``live``, ``store`` or ``committed``: where the observations came from."""
    survives_holm: bool | None = None
    families_needed: tuple[int, int] | None = None
    """Range for the number of families that would decide, when INCONCLUSIVE."""
    how: How | None = None
    """What a refutation shows; ``None`` for any other verdict."""
    registration: Registration | None = None
    """``None`` where nothing was written down, as in a notebook."""
    nodeid: str = ""
    command: str = ""
    """The command that reruns exactly this cell."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and with what a run was made."""

    python: str
    platform: str
    versions: Mapping[str, str]
    device: str
    dtype: str
    command: str = ""
    started: str = ""
    seconds: float = 0.0
    family_size: int = 0
    """Number of sampled claims x models over which p was adjusted."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a run leaves; the versioned content of ``evidence.json``."""

    environment: Environment
    claims: tuple[ClaimReport, ...]
    models: tuple[ModelReport, ...]
    prompts: tuple[PromptSetReport, ...]
    results: tuple[Result, ...]
    schema: str = SCHEMA
    notes: tuple[str, ...] = ()
    over_models: tuple[OverModels, ...] = ()
