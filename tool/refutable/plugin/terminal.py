"""What a run prints: one line per claim and model, and why a test failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refutable.evidence import over_models
from refutable.evidence.registry import worded
from refutable.plugin.profile import write_profile
from refutable.records import Estimate, Outcome, Result, Verdict
from refutable.system import wording

if TYPE_CHECKING:
    from refutable.evaluation.outcome import CellOutcome
    from refutable.plugin.session import ClaimSession

_STYLE = {
    Verdict.CONFIRMED: {"green": True},
    Verdict.REFUTED: {"red": True},
    Verdict.INCONCLUSIVE: {"yellow": True},
}


def interval(estimate: Estimate | None) -> str:
    """``-0.051 [-0.17, +0.07] n 25/5``."""
    if estimate is None:
        return ""
    text = wording.number(estimate.value, sign=True)
    if estimate.low is not None and estimate.high is not None:
        text += f" {wording.ends(estimate.low, estimate.high, sign=True)}"
    units = [str(estimate.n)] + [str(k) for k in (estimate.clusters, estimate.seeds) if k]
    return f"{text} n {'/'.join(units)}"


def explain(outcome: CellOutcome, message: str) -> str:
    """Say in a few lines why the test of a claim failed."""
    claim, cell, found = outcome.claim, outcome.cell, outcome.evaluation
    assert found is not None  # noqa: S101  (only evaluated claims are compared)
    judgement = found.judgement
    lines = [
        f"{claim.id} on {cell.model} ({cell.prompts}, {cell.arm}): {message}",
        f"  says        {claim.statement}",
        f"  refuted if  {claim.refuted_if}",
        f"  measured    {interval(judgement.estimate)}",
        f"  predicted   {claim.predicts.statement}",
        f"  because     {judgement.decision.reason}",
    ]
    if judgement.counterexample is not None:
        counterexample = judgement.counterexample
        value = wording.number(counterexample.value, sign=True)
        lines.append(f"  counterexample  {counterexample.prompt!r} gives {value}")
        if counterexample.ids:
            lines.append(f"  token ids   {list(counterexample.ids)}")
    if found.control is not None:
        reading = f"{found.control.reading}: " if found.control.reading else ""
        lines.append(f"  control     {reading}{found.control.reason}")
    if found.replication is not None:
        how, estimate = found.replication, found.replication.estimate
        lines.append(f"  as studied  {how.statement} {interval(estimate)}: {how.reading}")
    return "\n".join(lines)


def summarise(reporter: Any, session: ClaimSession) -> None:
    """Print one line per claim and model, then where the evidence lies."""
    evidence = session.evidence
    if session.problem:
        reporter.write_line(f"ERROR: {session.problem}", red=True)
    if evidence is None:
        if session.options.register:
            for note in session.notes:
                reporter.write_line(note)
        return
    # Not `section`: it leaves the reporter mid-line, which would break the first line in two.
    reporter.write_sep("=", "claims")
    width = max(len(r.claim) for r in evidence.results)
    model_width = max(len(r.model) for r in evidence.results)
    shown = [r for r in evidence.results if r.outcome is not Outcome.SKIPPED]
    verbose = session.config.get_verbosity() > 0
    for result in shown:
        _line(reporter, result, width, model_width, verbose=verbose)
    _not_applicable(reporter, evidence.results)
    for summary in evidence.over_models if verbose else ():
        reporter.write_line(over_models.worded(summary))
    size = evidence.environment.family_size
    weak = sum(r.survives_holm is False for r in evidence.results)
    if size:
        reporter.write_line(
            f"{size} sampled claims x models; * marks {weak} verdicts that would not survive "
            "Holm's adjustment over them"
        )
    if session.options.profile:
        write_profile(reporter, evidence.models)
    for note in session.notes:
        reporter.write_line(note)
    reporter.write_line(f"evidence: {_relative(session)}")


def _relative(session: ClaimSession) -> str:
    out = session.options.out
    base = session.config.rootpath
    return str(out.relative_to(base)) if out.is_relative_to(base) else str(out)


def _line(reporter: Any, result: Result, width: int, model_width: int, *, verbose: bool) -> None:
    verdict = "ERROR" if result.verdict is None else result.verdict.value.upper()
    mark = "*" if result.survives_holm is False else " "
    style = _STYLE.get(result.verdict, {"red": True}) if result.verdict else {"red": True}
    reporter.write(f"{verdict + mark:<13}", **style)
    where = f"{result.claim:<{width}}  {result.model:<{model_width}}  {result.arm:<6}"
    if result.verdict is None:
        reporter.write_line(f" {where}  {result.reason}")
        return
    parts = [interval(result.estimate), result.how.value if result.how is not None else ""]
    if result.control is not None and result.control.reading is not None:
        parts.append(f"control {result.control.reading.value}")
    if result.replication is not None:
        estimate = result.replication.estimate
        parts.append(f"as studied {interval(estimate)} {result.replication.reading}")
    if result.expected is None:
        parts.append("nothing recorded")
    elif result.expected is not result.verdict:
        parts.append(f"recorded {result.expected.value.upper()}")
    else:
        parts.append("as recorded")
    if result.registration is not None and (verbose or result.registration.changed):
        parts.append(worded(result.registration))
    reporter.write_line(f" {where}  {'; '.join(p for p in parts if p)}")


def _not_applicable(reporter: Any, results: tuple[Result, ...]) -> None:
    skipped = [r for r in results if r.outcome is Outcome.SKIPPED]
    if skipped:
        claims = len({r.claim for r in skipped})
        reporter.write_line(
            f"NOT APPLICABLE: {len(skipped)} cells of {claims} claims (pytest -rs gives reasons)"
        )
