"""What a run prints at its end: a screen, or with -v a line for each claim and model."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.evidence import over_models
from refutable.evidence.registry import worded
from refutable.plugin import screen
from refutable.plugin.profile import write_profile
from refutable.plugin.wording import (
    VERDICT_WIDTH,
    Piece,
    cell_name,
    details,
    interval,
    style_of,
    verdict,
)
from refutable.records import Evidence, Outcome, Verdict
from refutable.report.text import duration
from refutable.system import wording

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from refutable.evaluation.outcome import CellOutcome
    from refutable.plugin.session import ClaimSession


WIDE = 100
"""Columns that lines with commands in them may take in any terminal."""


def explain(outcome: CellOutcome, message: str) -> str:
    """Say in a few lines why the test of a claim failed."""
    claim, cell, evaluation = outcome.claim, outcome.cell, outcome.evaluation
    assert evaluation is not None  # noqa: S101  (only evaluated claims are compared)
    judgement = evaluation.judgement
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
    if evaluation.control is not None:
        reading = f"{evaluation.control.reading}: " if evaluation.control.reading else ""
        lines.append(f"  control     {reading}{evaluation.control.reason}")
    if evaluation.replication is not None:
        how, estimate = evaluation.replication, evaluation.replication.estimate
        lines.append(f"  as studied  {how.statement} {interval(estimate)}: {how.reading}")
    return "\n".join(lines)


def summarise(reporter: TerminalReporter, session: ClaimSession) -> None:
    """Print what the run found, then where the report lies and how to record what is new."""
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
    width = reporter._tw.fullwidth
    if reporter.verbosity > 0:
        shown = list(_every_cell(evidence, width))
    else:
        results = session.results
        shown = screen.lines(screen.Screen(evidence, results.messages, results.failed), width)
    for pieces in shown:
        for text, style in pieces:
            reporter.write(text, **style)
        reporter.line("")
    if session.options.profile:
        write_profile(reporter, evidence.models)
    # Commands in them are to be copied, so a line is broken only where a wide terminal would.
    for said in (*_to_record(session, evidence), *session.notes, *_where(session)):
        room = max(width, WIDE)
        for line in textwrap.wrap(said, room, subsequent_indent="  ", break_on_hyphens=False):
            reporter.write_line(line)


def _every_cell(evidence: Evidence, width: int) -> Iterable[tuple[Piece, ...]]:
    """Give each cell its line, in columns where the terminal is wide enough, folded where not."""
    claims = {claim.id: claim for claim in evidence.claims}
    results = [r for r in evidence.results if r.outcome is not Outcome.SKIPPED]
    columns = [max((len(part) for part in each), default=0) for each in _names(results)]
    for result in results:
        said = details(result, claims.get(result.claim))
        if result.registration is not None and not result.registration.changed:
            said += f"; {worded(result.registration)}"
        if result.replication is not None:
            estimate = result.replication.estimate
            said += f"; as studied {interval(estimate)} {result.replication.reading}"
        names = (result.claim, result.model, result.arm)
        name = "  ".join(f"{n:<{w}}" for n, w in zip(names, columns, strict=True))
        if VERDICT_WIDTH + len(name) + 2 + len(said) > width:
            name = cell_name(result)
        body = _folded(name, said, width - VERDICT_WIDTH)
        for place, line in enumerate(body):
            head = f"{verdict(result) if place == 0 else '':<{VERDICT_WIDTH}}"
            yield ((head, style_of(result) if place == 0 else {}), (line, {}))
    skipped = [r for r in evidence.results if r.outcome is Outcome.SKIPPED]
    if skipped:
        number = len({r.claim for r in skipped})
        said = f"NOT APPLICABLE: {len(skipped)} cells of {number} claims (pytest -rs says why)"
        yield ((said, {}),)
    for summary in evidence.over_models:
        yield from (((line, {}),) for line in textwrap.wrap(over_models.worded(summary), width))
    size = evidence.environment.family_size
    weak = sum(r.survives_holm is False for r in evidence.results)
    if size:
        said = (
            f"{size} sampled claims x models; * marks {weak} verdicts that would not survive "
            "Holm's adjustment over them"
        )
        yield from (((line, {}),) for line in textwrap.wrap(said, width))


def _names(results: Iterable[object]) -> list[list[str]]:
    return [[str(getattr(r, name)) for r in results] for name in ("claim", "model", "arm")]


def _folded(name: str, said: str, width: int) -> list[str]:
    width = max(width, 24)
    if len(name) + 2 + len(said) <= width:
        return [f"{name}  {said}"]
    return [
        *textwrap.wrap(name, width),
        *textwrap.wrap(said, width, initial_indent="  ", subsequent_indent="  "),
    ]


def _to_record(session: ClaimSession, evidence: Evidence) -> Iterable[str]:
    new = [r for r in evidence.results if r.verdict is not None and r.expected is None]
    refuted = sum(r.verdict is Verdict.REFUTED for r in new)
    if not refuted or session.options.update_baseline:
        return
    kept = os.path.relpath(session.options.baseline, session.config.invocation_params.dir)
    option = "--update-baseline" if session.options.unrecorded_passes else "--claim-update-baseline"
    one = refuted == 1
    what = "1 refutation is" if one else f"{refuted} refutations are"
    how = f"the same command with {option} records {'it' if one else 'them'} in {kept}"
    yield f"{what} not recorded yet: {how}"


def _where(session: ClaimSession) -> Iterable[str]:
    """Name what to open, as seen from where the command was typed, and the time."""
    took = duration(time.time() - session.started)
    folder = session.results.left_in or session.options.out
    page = folder / "report.html"
    main = page if page.is_file() and session.results.report_made else folder / "evidence.json"
    yield f"{main.stem}: {shown_path(session, main)} ({took})"


def shown_path(session: ClaimSession, path: Path) -> str:
    """Return a path as the user would type it where the command was started."""
    here = session.config.invocation_params.dir
    near = os.path.relpath(path, here)
    return str(path) if near.startswith(os.path.join("..", "..")) else near
