"""The verdict matrix and its words, shared by the HTML and the Markdown report."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from refutable.predictions.recorded import kind_of
from refutable.records import (
    ClaimReport,
    Evidence,
    How,
    ModelReport,
    Outcome,
    PredictionRecord,
    Reading,
    Result,
)

SEVERAL = "several models"
"""Heads the column of claims that compare models, or speak about their training seeds."""

SPARSE = 1 / 3
"""Share of empty cells past which a claim's cells stand beside it, without columns."""

STATES = ("confirmed", "refuted", "inconclusive", "error", "skipped", "undecided")
"""What a cell can be: a verdict, or why there is none."""

SYMBOLS = {
    "confirmed": "✓",
    "refuted": "✗",
    "inconclusive": "?",
    "error": "!",
    "skipped": "–",
    "undecided": "·",
}
READINGS = {
    Reading.INFORMATIVE: ("●", "the measurement tells the model from its control"),
    Reading.UNINFORMATIVE: ("○", "the control satisfies the claim as well"),
    Reading.UNDETERMINED: ("◐", "the control does not settle what the verdict is worth"),
}


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """What a claim was tried on: a model (or group of models), an arm and a prompt set."""

    model: str
    arm: str
    prompts: str


@dataclass(frozen=True, slots=True)
class Row:
    """One claim and its cells, one for each column; ``None`` where nothing was tried."""

    claim: ClaimReport
    cells: tuple[Result | None, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Claims of one study against what they were tried on."""

    study: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def spoken(self) -> tuple[Row, ...]:
        """Rows of claims that speak of at least one column."""
        return tuple(r for r in self.rows if any(c and state(c) != "skipped" for c in r.cells))

    @property
    def unspoken(self) -> tuple[Row, ...]:
        """Rows of claims that speak of none of these models."""
        spoken = set(map(id, self.spoken))
        return tuple(row for row in self.rows if id(row) not in spoken)

    @property
    def sparse(self) -> bool:
        """Whether most columns are empty in most rows, so that columns carry little."""
        cells = [cell for row in self.spoken for cell in row.cells]
        empty = sum(cell is None or state(cell) == "skipped" for cell in cells)
        return len(self.columns) > 2 and empty > SPARSE * len(cells)

    @property
    def results(self) -> tuple[Result, ...]:
        """The cells that hold a result, row by row."""
        return tuple(cell for row in self.rows for cell in row.cells if cell is not None)


def matrices(evidence: Evidence) -> tuple[Matrix, ...]:
    """Arrange results as one matrix for each study.

    Parameters
    ----------
    evidence : Evidence
        A run.

    Returns
    -------
    tuple of Matrix
        Rows follow the study's own numbering, columns the kind of norm. A claim of which only
        results are known gets a row of its own. A column is left out where every cell is NOT
        APPLICABLE.
    """
    claims = _claims(evidence)
    cells = {(r.claim, _column(r)): r for r in evidence.results}
    order = {
        model.id: (model.facts.norm_kind if model.facts else "~", place)
        for place, model in enumerate(evidence.models)
    }
    made = []
    for study in dict.fromkeys(claim.study for claim in claims):
        of_study = [claim for claim in claims if claim.study == study]
        ids = {claim.id for claim in of_study}
        tried = {
            column: None
            for (claim, column), result in cells.items()
            if claim in ids and result.outcome is not Outcome.SKIPPED
        } or {column: None for claim, column in cells if claim in ids}
        columns = sorted(tried, key=lambda c: _place(c, order))
        rows = tuple(
            Row(c, tuple(cells.get((c.id, column)) for column in columns)) for c in of_study
        )
        made.append(Matrix(study, tuple(columns), rows))
    return tuple(made)


def _column(result: Result) -> Column:
    """Return a result's column; comparisons of several models, which differ by claim, share one."""
    several = len(result.models) > 1
    return Column(SEVERAL if several else result.model, result.arm, result.prompts)


def _place(column: Column, order: Mapping[str, tuple[str, int]]) -> tuple[object, ...]:
    """Sort key: kind of norm, model, prompts, and the plain arm before the one with BOS."""
    plain = column.arm in ("", "no-bos")
    if column.model == SEVERAL:
        return ("", -1, column.model, column.prompts, not plain)
    return (*order.get(column.model, ("~", len(order))), column.model, column.prompts, not plain)


def _claims(evidence: Evidence) -> list[ClaimReport]:
    known = {claim.id: claim for claim in evidence.claims}
    for result in evidence.results:
        if result.claim not in known:
            known[result.claim] = ClaimReport(
                id=result.claim,
                study=result.study,
                ref=result.ref,
                kind=result.kind,
                statement="(the evidence does not hold this claim's statement)",
                refuted_if="",
                quantity="",
                predicted="",
                prediction=PredictionRecord(""),
            )
    studies = {study: k for k, study in enumerate(dict.fromkeys(c.study for c in known.values()))}
    return sorted(known.values(), key=lambda c: (studies[c.study], _numbering(c.ref), c.id))


def _numbering(ref: str) -> list[tuple[int, str]]:
    """Sort key by which G2 comes before G10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", ref)]


def numbering(claims: Mapping[str, ClaimReport], claim: str) -> list[tuple[int, str]]:
    """Sort key of a claim by its number in the study, then by its name."""
    known = claims.get(claim)
    return [*_numbering(known.ref if known is not None else ""), (0, claim)]


def state(result: Result) -> str:
    """One of `STATES`."""
    if result.verdict is not None and result.outcome is not Outcome.ERROR:
        return str(result.verdict)
    if result.outcome is Outcome.ERROR:
        return "error"
    return "skipped" if result.outcome is Outcome.SKIPPED else "undecided"


HOW = {
    How.OPPOSITE: "it shows the opposite sign",
    How.NEGLIGIBLE: "what there is, is smaller than the smallest effect of interest either way",
    How.SMALLER: "it is smaller than the claim asks for",
}
"""What a refutation shows, in words."""


def word(result: Result, claim: ClaimReport) -> str:
    """Return the verdict in words; exact facts hold or do not hold for a checkpoint."""
    exact = {
        "confirmed": "holds",
        "refuted": "does not hold",
        "inconclusive": "undecided",
    }
    plain = {"skipped": "not applicable", "undecided": "no verdict"}
    label = state(result)
    if not claim.sampled and not universal(claim) and label in exact:
        label = exact[label]
    return plain.get(label, label) + ("" if result.how is None else f": {result.how}")


def universal(claim: ClaimReport) -> bool:
    """Whether a claim is about every value: a search can refute it but certify nothing."""
    kind = kind_of(claim.prediction)
    return kind is not None and kind.universal


def of_values(claim: ClaimReport) -> bool:
    """Whether the predicted region is one of the very values that the claim's body returns.

    A correlation, a share, a slope or a difference is a number of another kind.
    """
    kind = kind_of(claim.prediction)
    return kind is not None and kind.of_values


def wording(result: Result, claim: ClaimReport) -> str:
    """Return one sentence on what the verdict means."""
    label = state(result)
    if label == "confirmed":
        return (
            "The claim survived this test: the interval lies inside the predicted region."
            if claim.sampled
            else "Holds for this checkpoint: value and numerical error lie inside the region."
        )
    if label == "refuted":
        if result.counterexample is not None or result.how is How.COUNTEREXAMPLE:
            return "One counterexample refutes the claim."
        said = (
            "The interval lies outside the predicted region"
            if claim.sampled or universal(claim)
            else "Does not hold for this checkpoint: the value lies outside the region"
        )
        shown = HOW.get(result.how) if result.how is not None else None
        return f"{said}{': ' + shown if shown else ''}."
    return {
        "inconclusive": "These observations do not decide the claim.",
        "error": "Not measured: the instrument, the model or the environment failed. "
        "This says nothing about the claim.",
        "skipped": "The claim does not speak about this model.",
        "undecided": "The run left no verdict.",
    }[label]


def against_baseline(result: Result) -> str:
    """Return how a verdict stands to the one recorded in the baseline, in words."""
    if result.expected is None:
        return "no verdict recorded"
    if result.verdict is None:
        return f"{result.expected} recorded, none made"
    if result.verdict is result.expected:
        return f"{result.expected}, as recorded"
    return f"{result.expected} recorded, now {result.verdict}"


def changed(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the results whose verdict is not the recorded one, a lost verdict included."""
    return tuple(
        r
        for r in results
        if r.expected is not None and r.verdict is not r.expected and r.outcome != Outcome.SKIPPED
    )


def tally(results: Iterable[Result]) -> dict[str, int]:
    """Count results by state, in the order of `STATES`; states that do not occur are left out."""
    counts = Counter(state(result) for result in results)
    return {name: counts[name] for name in STATES if counts[name]}


def readings(results: Iterable[Result]) -> dict[Reading, int]:
    """Count the readings of the controls."""
    counts = Counter(r.control.reading for r in results if r.control and r.control.reading)
    return {reading: counts[reading] for reading in Reading if counts[reading]}


def anchor(result: Result) -> str:
    """Return an id for a result that is a valid, stable fragment whatever the names hold."""
    whole = "\0".join((result.claim, result.model, result.arm, result.prompts))
    digest = hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"r-{slug(result.claim)}-{slug(result.model)}-{digest}"


def slug(name: str, limit: int = 40) -> str:
    """Return a name as letters, digits and dashes, for fragments and file names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:limit].strip("-") or "x"


def column_label(column: Column, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return what tells a column from the others of its matrix: arm and prompts only if needed."""
    arms = {c.arm for c in columns}
    prompts = {c.prompts for c in columns}
    return tuple(
        part
        for part, needed in ((column.arm, len(arms) > 1), (column.prompts, len(prompts) > 1))
        if needed and part
    )


def failed_models(evidence: Evidence) -> tuple[ModelReport, ...]:
    """Return the models on which a check of the instrument failed or that broke off."""
    return tuple(m for m in evidence.models if m.error or not all(c.passed for c in m.checks))
