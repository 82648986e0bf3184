"""Evaluating a claim about several models: training seeds of one or more kinds of model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from refutable.errors import NotAvailableError, NotMeasurableError

if TYPE_CHECKING:
    from refutable.evaluation.evaluate import Subject
    from refutable.evaluation.outcome import Conclusion
    from refutable.plugin.session import ClaimSession
    from refutable.spec.claim import Claim


@dataclass(slots=True)
class _Gathered:
    """What the members of the groups gave."""

    values: dict[str, dict[int | None, Any]] = field(default_factory=dict)
    controls: list[dict[str, dict[int, Any]]] = field(default_factory=list)
    """For each copy of the null control: by group, under the copy's number."""
    control_names: list[str] = field(default_factory=list)
    error: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Members that nothing is known of, each with the reason."""
    unmeasurable: bool = False
    """Whether the last of them has no such observable, rather than no weights here."""


def members_of(claim: Claim, named: Mapping[str, str] | None) -> dict[str, dict[int | None, str]]:
    """Return the models of each group that a claim compares, by seed.

    Parameters
    ----------
    claim : Claim
        A claim about several models.
    named : mapping or None
        The models of the run, where any were named; otherwise those that refutable ships.
    """
    from refutable.models import registry
    from refutable.models.spec import ModelSource

    specs = [
        spec
        for spec in registry.all_specs()
        if (spec.id in named if named is not None else spec.source is ModelSource.TWIN)
    ]
    found: dict[str, dict[int | None, str]] = {}
    for group in claim.predicts.names:
        found[group] = {
            spec.seed or 0: spec.id
            for spec in specs
            if spec.group == group and (spec.seed or 0) not in claim.predicts.left_out
        }
        if group in (named or ()) or group in (spec.id for spec in specs):
            found[group] = {None: group}
    return found


def evaluate_group(session: ClaimSession, conclusion: Conclusion) -> str | None:
    """Measure and evaluate a claim about several models; return the reason if it does not apply.

    Members whose weights are not here and of which nothing is committed for these prompts are
    left out, which the result says; fewer than five training seeds then decide nothing.

    Raises
    ------
    RefutableError
        If a model, the instrument or the body failed.
    """
    from refutable.evaluation.cell import guarded
    from refutable.evaluation.evaluate import Evaluation, seed_of

    claim, case = conclusion.claim, conclusion.case
    groups = session.groups(claim)
    missing = [name for name, members in groups.items() if not members]
    if missing:
        return f"no model of this run belongs to {', '.join(missing)}: add it with --claim-model"
    found = _Gathered()
    for name, members in groups.items():
        reason = _gather(session, conclusion, name, members, found)
        if reason is not None:
            return reason
        if not found.values[name]:
            if found.unmeasurable:
                return found.left_out[-1]
            raise NotAvailableError(found.left_out[-1])
    how: dict[str, Any] = {
        "error": found.error, "seed": seed_of(claim.id, case.model), "unit": claim.unit,
    }  # fmt: skip
    judgement = guarded(claim, case, lambda: claim.predicts.judge(found.values, **how))
    control = None
    # A group whose first member is left out has no copies to hold the others against.
    controls = [copies for copies in found.controls if set(copies) == set(groups)]
    if claim.control is not None and controls:
        control = guarded(
            claim,
            case,
            lambda: claim.predicts.read_control(
                found.values, controls, kind=claim.control.kind,
                models=tuple(found.control_names), sesoi=claim.sesoi, **how,
            ),
        )  # fmt: skip
    if found.left_out:
        note = f"left out {len(found.left_out)} of the models: {found.left_out[0]}"
        judgement = replace(judgement, estimate=replace(judgement.estimate, note=note))
    conclusion.evaluation = Evaluation(found.values, (), judgement, control, None, found.error)
    return None


def _gather(
    session: ClaimSession,
    conclusion: Conclusion,
    name: str,
    members: Mapping[int | None, str],
    found: _Gathered,
) -> str | None:
    """Evaluate the body on every member of a group and on the null control of its first."""
    from refutable.evaluation.cell import source_of
    from refutable.evaluation.evaluate import instrument_error
    from refutable.evidence.rows import keep_member
    from refutable.measurement.harness import not_applicable

    claim, case = conclusion.claim, conclusion.case
    found.values[name] = {}
    for seed, model in members.items():
        need = session.member_need(claim, case, model, members)
        facts = session.laboratory.facts(model)
        reason = not_applicable(need, facts)
        if reason is not None:
            return reason
        try:
            subject = session.laboratory.subject(need)
        except NotAvailableError as problem:
            found.left_out.append(str(problem))
            found.unmeasurable = isinstance(problem, NotMeasurableError)
            continue
        conclusion.sources.add(source_of(session, need, subject))
        value = _body(conclusion, subject.observations)
        found.error = max(found.error, instrument_error(claim, subject, value))
        found.values[name][seed] = value
        _gather_controls(conclusion, name, subject, found)
        keep_member(session, conclusion, model, value)
        session.laboratory.forget(model)
    return None


def _gather_controls(conclusion: Conclusion, name: str, subject: Subject, found: _Gathered) -> None:
    for place, observations in enumerate(subject.controls):
        if place == len(found.controls):
            found.controls.append({})
        found.controls[place][name] = {place: _body(conclusion, observations)}
    found.control_names += subject.control_names


def _body(conclusion: Conclusion, observations: Any) -> Any:
    from refutable.evaluation.cell import guarded
    from refutable.evaluation.evaluate import call

    claim = conclusion.claim
    return guarded(
        claim, conclusion.case, lambda: call(claim.body, observations, claim.observables)
    )
