"""From items to evidence: results travel with pytest's reports, the controller writes the files."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from refutable.errors import RefutableError, one_line
from refutable.evaluation.outcome import CellOutcome
from refutable.evidence import baseline
from refutable.plugin.cases import OUTCOME, cell_of, claim_of
from refutable.plugin.environment import environment
from refutable.plugin.session import SESSION, ClaimSession
from refutable.plugin.transport import plain, restore
from refutable.records import (
    ClaimReport,
    Evidence,
    ModelReport,
    Outcome,
    PromptSetReport,
    Result,
    Verdict,
)

if TYPE_CHECKING:
    from refutable.spec.claim import Claim


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put an item's result on the report that settles it, as plain data."""
    claim, cell = claim_of(item), cell_of(item)
    if claim is None or cell is None:
        return
    settles = report.when == "call" or (report.when == "setup" and not report.passed)
    if not settles:
        return
    session = item.config.stash[SESSION]
    outcome = item.stash.get(OUTCOME, None) or CellOutcome(cell, claim)
    result = result_of(session, item, outcome, report)
    models = [session.harness.report(m) for m in cell.models]
    report.refutable = {  # type: ignore[attr-defined]
        "result": plain(result),
        "claim": plain(claim.report()),
        "models": [plain(m) for m in models if m is not None],
        "prompts": [plain(p) for p in _prompts_of(session, outcome)],
    }
    from refutable.plugin.junit import properties

    carried = properties(result)
    report.user_properties.extend(carried)
    item.user_properties.extend(carried)
    # Arrays must not live on in the item.
    item.stash[OUTCOME] = CellOutcome(cell, claim)


def result_of(
    session: ClaimSession, item: pytest.Item, outcome: CellOutcome, report: pytest.TestReport
) -> Result:
    """Assemble the record of one item."""
    claim, cell, found = outcome.claim, outcome.cell, outcome.evaluation
    if _outcome(report) is Outcome.ERROR:
        # What broke after the evaluation leaves no verdict that could be read as one.
        found = None
    label = cell.prompts
    if found is not None:
        label = session.prompts.label(cell.prompts)
    result = Result(
        claim=claim.id,
        study=claim.source.study,
        ref=claim.source.ref,
        kind=claim.kind,
        model=cell.model,
        prompts=label,
        arm=cell.arm,
        outcome=_outcome(report),
        reason=outcome.reason,
        models=cell.models,
        nodeid=item.nodeid,
        command=rerun_command(session, claim, outcome),
        seconds=outcome.seconds,
    )
    if found is None:
        return replace(result, reason=outcome.reason or _reason(report))
    judgement = found.judgement
    return replace(
        result,
        verdict=judgement.decision.verdict,
        expected=session.expected(outcome),
        reason=judgement.decision.reason,
        estimate=judgement.estimate,
        parts=tuple(judgement.parts),
        control=found.control,
        replication=found.replication,
        counterexample=judgement.counterexample,
        families_needed=judgement.families_needed,
        seeds=tuple(seeds_of(found.values)) if cell.grouped else (),
        source=outcome.source,
    )


def seeds_of(values: Any) -> list[int]:
    """Return the seeds behind a claim over groups of models."""
    seeds = {seed for members in values.values() for seed in members if seed is not None}
    return sorted(int(seed) for seed in seeds)


def _prompts_of(session: ClaimSession, outcome: CellOutcome) -> list[PromptSetReport]:
    if outcome.evaluation is None:
        return []
    return [session.prompt_set(outcome.cell.prompts).report()]


def _outcome(report: pytest.TestReport) -> Outcome:
    if report.when == "call" and hasattr(report, "wasxfail"):
        # An expected failure is one: pytest calls it skipped, but the claim was decided.
        return Outcome.FAILED if report.skipped else Outcome.PASSED
    if report.skipped:
        return Outcome.SKIPPED
    if report.when == "setup":
        return Outcome.ERROR
    return Outcome.PASSED if report.passed else Outcome.FAILED


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    lines = [line for line in str(report.longrepr or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def rerun_command(session: ClaimSession, claim: Claim, outcome: CellOutcome) -> str:
    """Return the command line that reruns exactly one cell."""
    cell = outcome.cell
    words = ["refutable", "verify", claim.id]
    for model in cell.models:
        words += ["--model", model]
    words += ["--prompts", cell.prompts, "--arm", cell.arm]
    options = session.options
    if options.device != "cpu":
        words += ["--device", options.device]
    if options.dtype != "float32":
        words += ["--dtype", options.dtype]
    return shlex.join(words)


class ResultCollector:
    """Gathers what reports carry; with xdist it does so on the controller."""

    def __init__(self, session: ClaimSession) -> None:
        self._session = session

    def pytest_keyboard_interrupt(self) -> None:
        """Remember that the user wants to stop."""
        self._session.interrupted = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the result off a report."""
        carried = getattr(report, "refutable", None)
        if carried is None:
            return
        result = restore(Result, carried["result"])
        self._session.found.results[report.nodeid] = result
        claim = restore(ClaimReport, carried["claim"])
        self._session.found.claims[claim.id] = claim
        for raw in carried["prompts"]:
            prompts = restore(PromptSetReport, raw)
            self._session.found.prompts[prompts.name] = prompts
        for raw in carried["models"]:
            model = restore(ModelReport, raw)
            known = self._session.found.models.get(model.id)
            # The last report of a model knows the most; a failing one is never overwritten.
            if known is None or not known.error:
                self._session.found.models[model.id] = model


def leave(session: ClaimSession, run: pytest.Session) -> None:
    """Leave the evidence of a run; what keeps it from being written is one line and an exit code.

    Everything else that pytest has to say is said all the same.
    """
    try:
        leave_evidence(session)
    except (RefutableError, OSError) as problem:
        session.problem = f"not all of what was found could be written: {one_line(problem)}"
        run.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def leave_evidence(session: ClaimSession) -> None:
    """Write the evidence, the observations, the report and, if asked to, the baseline."""
    if session.is_worker or not session.found.results:
        return
    from refutable.evidence import json as evidence_json
    from refutable.evidence.observations import write_observations

    out = session.options.out
    out.mkdir(parents=True, exist_ok=True)
    evidence = gather_evidence(session)
    evidence_json.write(evidence, out / "evidence.json")
    write_observations(session.log.gather(), out / "observations.parquet")
    session.log.clear()
    session.evidence = evidence
    session.notes += session.harness.sources.store.notes
    if session.options.update_baseline:
        changed = baseline.update(session.options.baseline, evidence.results)
        session.notes.append(f"baseline: {changed} verdicts recorded anew")
    if session.options.report and session.interrupted:
        where = os.path.relpath(out / "evidence.json", session.config.invocation_params.dir)
        command = shlex.join(["refutable", "report", where])
        session.notes.append(f"report: not made, the run was stopped: `{command}` makes it")
    elif session.options.report:
        from refutable.report import build
        from refutable.report import freshness as kept

        if kept.is_current(evidence, out):
            session.notes.append("report: kept, nothing in it changed")
        else:
            build(out / "evidence.json")
            kept.mark(evidence, out)


def gather_evidence(session: ClaimSession) -> Evidence:
    """Assemble what the run leaves, with Holm-adjusted p over its sampled claims and models."""
    results = sorted(
        session.found.results.values(), key=lambda r: (r.study, r.claim, r.model, r.prompts, r.arm)
    )
    results, size = _adjust(session, results)
    found = session.found
    return Evidence(
        environment=environment(session, size),
        claims=tuple(found.claims[i] for i in sorted(found.claims)),
        models=tuple(found.models[i] for i in sorted(found.models)),
        prompts=tuple(found.prompts[i] for i in sorted(found.prompts)),
        results=tuple(results),
        notes=(*over_models(results), *_unfinished(session), *session.notes),
    )


def _unfinished(session: ClaimSession) -> list[str]:
    """Say of a run that was stopped how much it lacks: its evidence must not pass for a whole."""
    lacking = session.planned_items - len(session.found.results)
    if lacking > 0:
        return [f"the run was stopped: {lacking} of {session.planned_items} cells were not tested"]
    return ["the run was stopped before all cells were tested"] if session.interrupted else []


def over_models(results: list[Result]) -> list[str]:
    """Say of each claim on several models what it comes to: a list, for models are no sample."""
    lines = []
    cells: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.verdict is not None and len(result.models) == 1:
            cells.setdefault((result.claim, result.prompts, result.arm), []).append(result)
    for (claim, prompts, arm), found in cells.items():
        if len(found) < 2:
            continue
        parts = []
        for verdict in Verdict:
            names = [r.model for r in found if r.verdict is verdict]
            if names:
                parts.append(f"{verdict.value} on {', '.join(names)}")
        lines.append(f"{claim} ({prompts}, {arm}) over {len(found)} models: {'; '.join(parts)}")
    return lines


def _adjust(session: ClaimSession, results: list[Result]) -> tuple[list[Result], int]:
    """Adjust p over all sampled claims x models of the run, as Holm does."""
    from refutable.stats.multiplicity import holm

    sampled = {claim.id for claim in session.found.claims.values() if claim.sampled}
    places = [i for i, r in enumerate(results) if r.claim in sampled and r.estimate is not None]
    estimates = [results[i].estimate for i in places]
    adjusted, survives = holm([e.p if e is not None else None for e in estimates])
    for i, estimate, p, stays in zip(places, estimates, adjusted, survives, strict=True):
        assert estimate is not None  # noqa: S101  (places were chosen so)
        decided = results[i].verdict in (Verdict.CONFIRMED, Verdict.REFUTED)
        results[i] = replace(
            results[i],
            estimate=replace(estimate, p_adjusted=p),
            survives_holm=stays if decided else None,
        )
    return results, len(places)
