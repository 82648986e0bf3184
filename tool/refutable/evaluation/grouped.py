"""Evaluating a claim about several models: training seeds of one or more kinds of model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from refutable.errors import NotAvailableError, NotMeasurableError
from refutable.evaluation.evaluate import Evaluation, decide, instrument_error, seed_of
from refutable.evaluation.guard import guarded
from refutable.evaluation.outcome import CellOutcome
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Members, member_need, members_of, not_applicable
from refutable.measurement.subject import Observations, Subject, call
from refutable.predictions.base import Measured, NullControl
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim


@dataclass(slots=True)
class _Gathered:
    """What the members of the groups gave."""

    values: dict[str, dict[int | None, object]] = field(default_factory=dict)
    controls: list[dict[str, dict[int | None, object]]] = field(default_factory=list)
    """For each copy of the null control: by group, under the copy's number (of a placebo: under
    the training seed)."""
    control_names: list[str] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    error: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Members that nothing is known of, each with the reason."""
    unmeasurable: bool = False
    """Whether the last of them has no such observable, rather than no weights here."""


def evaluate_group(
    claim: Claim,
    cell: Cell,
    harness: Harness,
    watch: Callable[[str, object, tuple[object, ...]], None],
) -> CellOutcome:
    """Measure and evaluate a claim about several models.

    Members whose weights are not here and of which nothing is committed for these prompts are
    left out, which the result says; fewer than five training seeds then decide nothing.

    Raises
    ------
    RefutableError
        If a model, the instrument or the body failed.
    """
    outcome = CellOutcome(cell, claim)
    groups = members_of(claim, harness.models)
    missing = [name for name, members in groups.items() if not members]
    if missing:
        lacking = ", ".join(missing)
        outcome.reason = f"no model of this run belongs to {lacking}: add it with --claim-model"
        return outcome
    gathered = _Gathered(sources=outcome.sources)
    visit = _Visit(claim, cell, harness, watch, gathered)
    for name, members in groups.items():
        outcome.reason = visit.group(name, members) or ""
        if outcome.reason:
            return outcome
        if not gathered.values[name]:
            if gathered.unmeasurable:
                outcome.reason = gathered.left_out[-1]
                return outcome
            raise NotAvailableError(gathered.left_out[-1])
    outcome.evaluation = guarded(claim, cell, lambda: _decide(claim, cell, gathered))
    return outcome


def _decide(claim: Claim, cell: Cell, gathered: _Gathered) -> Evaluation:
    measured = Measured(gathered.values, gathered.error, seed_of(claim.id, cell.model), claim.unit)
    # A group whose first member is left out has no copies to hold the others against.
    copies = tuple(copies for copies in gathered.controls if set(copies) == set(gathered.values))
    null = None
    if claim.control is not None:
        null = NullControl(claim.control.kind, tuple(gathered.control_names), copies, claim.sesoi)
    judgement, control = decide(claim, measured, null)
    if gathered.left_out:
        note = f"left out {len(gathered.left_out)} of the models: {gathered.left_out[0]}"
        judgement = replace(judgement, estimate=replace(judgement.estimate, note=note))
    return Evaluation(gathered.values, copies, judgement, control, None, gathered.error)


@dataclass(frozen=True, slots=True)
class _Visit:
    """Goes through the members of the groups, one model at a time."""

    claim: Claim
    cell: Cell
    harness: Harness
    watch: Callable[[str, object, tuple[object, ...]], None]
    gathered: _Gathered

    def group(self, name: str, members: Members) -> str | None:
        """Evaluate the body on every member of a group; return why the claim does not apply."""
        gathered = self.gathered
        gathered.values[name] = {}
        for seed, model in members.items():
            need = member_need(self.claim, self.cell, model, members)
            reason = not_applicable(need, self.harness.facts(model))
            if reason is not None:
                return reason
            try:
                subject = self.harness.subject(need)
            except NotAvailableError as problem:
                gathered.left_out.append(str(problem))
                gathered.unmeasurable = isinstance(problem, NotMeasurableError)
                continue
            gathered.sources.add(self.harness.source_of(need, subject))
            value = self._body(subject.observations)
            gathered.error = max(gathered.error, instrument_error(self.claim, subject, value))
            gathered.values[name][seed] = value
            self.watch(model, value, self._controls(name, seed, model, subject))
            self.harness.forget(model)
        return None

    def _controls(
        self, name: str, seed: int | None, model: str, subject: Subject
    ) -> tuple[object, ...]:
        controls, spec = self.gathered.controls, self.claim.control
        if spec is not None and spec.kind == "placebo":
            assert spec.body is not None  # noqa: S101  (a placebo has one)
            value = self._call(spec.body, subject.observations, spec.observables)
            if not controls:
                controls.append({})
            # Of each model one, which stands beside it.
            controls[0].setdefault(name, {})[seed] = value
            self.gathered.control_names.append(f"{model}@placebo")
            return (value,)
        values = tuple(self._body(observations) for observations in subject.controls)
        for place, value in enumerate(values):
            if place == len(controls):
                controls.append({})
            controls[place][name] = {place: value}
        self.gathered.control_names += subject.control_names
        return values

    def _body(self, observations: Observations) -> object:
        return self._call(self.claim.body, observations, self.claim.observables)

    def _call(
        self, body: Callable[..., object], observations: Observations, names: tuple[str, ...]
    ) -> object:
        return guarded(self.claim, self.cell, lambda: call(body, observations, names))
