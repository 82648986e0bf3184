"""From items to evidence: results travel with pytest's reports, the controller writes the files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from refutable.errors import RefutableError, one_line
from refutable.evaluation.environment import command_typed, environment
from refutable.evaluation.outcome import CellOutcome
from refutable.evaluation.results import adjusted, rerun_command, result_of
from refutable.evidence import baseline
from refutable.evidence import json as evidence_json
from refutable.evidence.observations import write_observations
from refutable.evidence.over_models import over_models, summed_up
from refutable.measurement.release import leave_releases
from refutable.plugin import part
from refutable.plugin.cases import MESSAGE, OUTCOME, cell_of, claim_of
from refutable.plugin.junit import properties
from refutable.plugin.session import SESSION, ClaimSession
from refutable.plugin.transport import plain, restore
from refutable.records import (
    ClaimReport,
    Evidence,
    ModelReport,
    Outcome,
    PromptSetReport,
    Result,
)
from refutable.report import build
from refutable.report import freshness as kept
from refutable.spec.cell import DEFAULT_PROMPTS
from refutable.system.paths import writable


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
    result = _result(session, item, outcome, report)
    models = [session.harness.report(m) for m in cell.models]
    report.refutable = {  # type: ignore[attr-defined]
        "result": plain(result),
        "claim": plain(claim.report()),
        "models": [plain(m) for m in models if m is not None],
        "prompts": [plain(p) for p in _prompts_of(session, outcome)],
        "message": (message := item.stash.get(MESSAGE, "")),
        "told": bool(message or outcome.reason),
    }

    carried = properties(result)
    report.user_properties.extend(carried)
    item.user_properties.extend(carried)
    # Arrays must not live on in the item.
    item.stash[OUTCOME] = CellOutcome(cell, claim)


def _result(
    session: ClaimSession, item: pytest.Item, outcome: CellOutcome, report: pytest.TestReport
) -> Result:
    """Assemble the record of one item."""
    kind, evaluation = _outcome(report), outcome.evaluation
    if kind is Outcome.ERROR:
        evaluation = None
    label = (
        outcome.cell.prompts if evaluation is None else session.prompts.label(outcome.cell.prompts)
    )
    command = rerun_command(outcome.claim.id, outcome.cell, session.settings)
    result = replace(result_of(outcome, kind, prompts=label, command=command), nodeid=item.nodeid)
    if evaluation is None:
        return replace(result, reason=outcome.reason or _reason(report))
    registration = session.registrar.state(outcome.claim, outcome.cell)
    return replace(result, expected=session.expected(outcome), registration=registration)


def _prompts_of(session: ClaimSession, outcome: CellOutcome) -> list[PromptSetReport]:
    if outcome.evaluation is None:
        return []
    return [session.prompts(outcome.cell.prompts).report()]


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
        self._session.results.results[report.nodeid] = result
        if carried["message"]:
            self._session.results.messages[report.nodeid] = carried["message"]
        if report.failed and result.outcome is Outcome.FAILED:
            self._session.results.failing.add(report.nodeid)
        claim = restore(ClaimReport, carried["claim"])
        self._session.results.claims[claim.id] = claim
        for raw in carried["prompts"]:
            prompts = restore(PromptSetReport, raw)
            self._session.results.prompts[prompts.name] = prompts
        for raw in carried["models"]:
            model = restore(ModelReport, raw)
            known = self._session.results.models.get(model.id)
            # The last report of a model knows the most; a failing one is never overwritten.
            if known is None or not known.error:
                self._session.results.models[model.id] = model


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
    if session.is_worker or not session.results.results:
        return

    evidence = gather_evidence(session)
    out = session.results.left_in = _folder(session, evidence)
    out.mkdir(parents=True, exist_ok=True)
    evidence_json.write(evidence, out / "evidence.json")
    write_observations(session.log.gather(), out / "observations.parquet")
    session.log.clear()
    if session.options.release:
        prompts = session.options.prompts or DEFAULT_PROMPTS
        measured = [m.id for m in evidence.models if m.id in session.models and not m.error]
        session.notes += leave_releases(session.harness, measured, prompts, out)
    session.evidence = evidence
    session.notes += session.harness.sources.store.notes
    session.notes += [session.registrar.note] * bool(session.registrar.note)
    if session.options.update_baseline:
        changed = baseline.update(session.options.baseline, evidence.results)
        session.notes.append(f"baseline: {changed} verdicts recorded anew")
    if session.options.report:
        _make_report(session, evidence, out)


def _folder(session: ClaimSession, evidence: Evidence) -> Path:
    """Where the run is left: a part of an earlier one does not take its place."""
    options = session.options
    if not options.out_is_default:
        return options.out
    restricted = bool(_unfinished(session)) or part.narrowed(session.config)
    held, missing = part.left_out(
        options.out, evidence.results, session.config.rootpath, restricted=restricted
    )
    if not missing:
        return options.out
    beside = options.out.with_name(part.NAME)
    writable(beside, "name another folder with --claim-out")
    kept = os.path.relpath(options.out, session.config.invocation_params.dir)
    session.notes.append(
        f"this run is a part: {kept} keeps the report of {held} cells, {missing} of which were "
        "not asked for now (--claim-out names a folder of its own)"
    )
    return beside


def _make_report(session: ClaimSession, evidence: Evidence, out: Path) -> None:
    if session.interrupted:
        where = os.path.relpath(out / "evidence.json", session.config.invocation_params.dir)
        command = shlex.join(["refutable", "report", where])
        session.notes.append(f"report: not made, the run was stopped: `{command}` makes it")
        return
    session.results.report_made = True
    if kept.is_current(evidence, out):
        session.notes.append("report: kept, nothing in it changed")
    else:
        build(out / "evidence.json")
        kept.mark(evidence, out)


def gather_evidence(session: ClaimSession) -> Evidence:
    """Assemble what the run leaves, with Holm-adjusted p over its sampled claims and models."""
    gathered = session.results
    results, tests = adjusted(gathered.results.values(), gathered.claims.values())
    invocation = session.config.invocation_params
    return Evidence(
        environment=environment(
            session.settings,
            started=session.started,
            command=command_typed([str(word) for word in invocation.args], invocation.dir),
            tests=tests,
        ),
        claims=tuple(gathered.claims[i] for i in sorted(gathered.claims)),
        models=tuple(gathered.models[i] for i in sorted(gathered.models)),
        prompts=tuple(gathered.prompts[i] for i in sorted(gathered.prompts)),
        results=results,
        notes=(*over_models(results), *_unfinished(session), *dropped(results), *session.notes),
        over_models=summed_up(results, gathered.claims),
    )


def dropped(results: Iterable[Result]) -> list[str]:
    """Name the stored counterexamples that hold no longer."""
    return [line for r in results if r.search is not None for line in r.search.dropped]


def _unfinished(session: ClaimSession) -> list[str]:
    """Say of a run that was stopped how much it lacks: its evidence must not pass for a whole."""
    lacking = session.planned_items - len(session.results.results)
    if lacking > 0:
        return [f"the run was stopped: {lacking} of {session.planned_items} cells were not tested"]
    return ["the run was stopped before all cells were tested"] if session.interrupted else []
