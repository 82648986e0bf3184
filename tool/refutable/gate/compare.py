"""The gate between two releases: what changed, claim by claim, paired on the same prompts.

For each claim of the base with a margin (smallest change of interest, at least the numerical
noise) and d = candidate - base: CHANGED when the test of abs(d) > margin survives Holm over the
base's claims, SAME when the guard lies inside the margin, UNDECIDED otherwise.
Changes of verdict are listed and gate nothing. See docs/gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from refutable.errors import EvidenceError
from refutable.gate.pairs import Paired, Rows, pair
from refutable.gate.records import ClaimChange, GateReport, Status
from refutable.predictions.recorded import kind_of
from refutable.records import ClaimReport, Evidence, Outcome, Result
from refutable.stats.build import T_FAMILIES
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.stats.multiplicity import holm
from refutable.stats.paired import PairedChange, exact_change, unpaired_change
from refutable.system import wording

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05

Key = tuple[str, str, str, str]


def gate(
    base: Evidence,
    candidate: Evidence,
    base_obs: pd.DataFrame | None,
    cand_obs: pd.DataFrame | None,
    *,
    strict: bool = False,
) -> GateReport:
    """Compare two releases claim by claim.

    Parameters
    ----------
    base, candidate : Evidence
        The evidence of the two runs.
    base_obs, cand_obs : DataFrame or None
        Their observations; without both, the estimates are compared as unpaired.
    strict : bool
        Whether the exit code also fails on UNDECIDED.

    Returns
    -------
    GateReport

    Raises
    ------
    EvidenceError
        If the base decided no claim, so that there is nothing to hold the candidate against.
    """
    names = renamed(base, candidate)
    old = {_key(r): r for r in base.results if r.verdict is not None}
    new = {_key(r, names): r for r in candidate.results}
    if not old:
        raise EvidenceError("the base decided no claim: nothing to compare with")
    claims = {c.id: c for c in base.claims}
    both = base_obs is not None and cand_obs is not None
    rows = (Rows(base_obs), Rows(cand_obs)) if both else None  # type: ignore[arg-type]
    lines = [
        _line(key, old[key], new.get(key), claims=claims, rows=rows, names=names) for key in old
    ]
    counted = [_tested(result, claims.get(result.claim)) for result in old.values()]
    lines = _corrected(lines, counted)
    lines += [
        _plain(key, None, result, Status.NEW, "the base did not decide it")
        for key, result in new.items()
        if key not in old and result.verdict is not None
    ]
    advisory = {c.id for c in base.claims if c.advisory}
    lines = [replace(line, advisory=line.claim in advisory) for line in lines]
    lines += _broken_instruments(base, candidate, lines)
    return GateReport(
        tuple(lines), strict, sum(counted), _notes(base, candidate, names, rows is not None)
    )


def _line(
    key: Key,
    old: Result,
    new: Result | None,
    *,
    claims: Mapping[str, ClaimReport],
    rows: tuple[Rows, Rows] | None,
    names: Mapping[str, str],
) -> ClaimChange:
    """Compare one claim, before any correction."""
    if new is None:
        return _plain(key, old, None, Status.LOST, "the candidate does not have it")
    if new.outcome is Outcome.ERROR:
        return _plain(key, old, new, Status.INSTRUMENT, new.reason or "an error")
    if new.verdict is None:
        return _plain(key, old, new, Status.LOST, new.reason or "not decided any more")
    if new.counterexample is not None and old.counterexample is None:
        shown = new.counterexample
        said = f"{shown.prompt} gives {wording.number(shown.value)}, the base has no counterexample"
        return _plain(key, old, new, Status.COUNTEREXAMPLE, said)
    claim = claims.get(key[0])
    if claim is None:
        return _plain(key, old, new, Status.UNDECIDED, "the base does not describe this claim")
    noise = sum(r.estimate.error for r in (old, new) if r.estimate is not None)
    margin = max(claim.margin if claim.margin is not None else claim.sesoi or 0.0, noise)
    paired = (
        pair(claim, (old, rows[0]), (new, rows[1]), margin=margin, noise=noise)
        if rows is not None
        else Paired((), "unpaired: no observations.parquet beside both evidence files")
    )
    if paired.gone:
        return _plain(key, old, new, Status.LOST, paired.note)
    unit = old.estimate.unit if old.estimate is not None else claim.unit
    reduced = kind_of(claim.prediction)
    if reduced is not None and reduced.change_unit:
        unit = reduced.change_unit
    if not paired.parts:
        return _unpaired(key, old, new, margin=margin, noise=noise, note=paired.note, unit=unit)
    part, change = _leading(paired.parts, claim.sampled)
    line = _plain(key, old, new, _status(paired.parts), paired.note, part=part)
    return replace(line, change=change, unit=unit, p_adjusted=change.p)


def _leading(
    parts: tuple[tuple[str, PairedChange], ...], sampled: bool
) -> tuple[str, PairedChange]:
    """Pick the part that moved most surely; p is that of all parts together (Bonferroni)."""
    facts = [part for part in parts if part[1].p is None and part[1].changed]
    if facts:
        return max(facts, key=lambda part: abs(part[1].value))
    tested = [part for part in parts if part[1].p is not None]
    tested = [part for part in tested if part[1].families >= FEWEST_FAMILIES] or tested
    if not tested:
        return max(parts, key=lambda part: abs(part[1].value))
    name, change = min(tested, key=lambda part: part[1].p or 0.0)
    p = min(1.0, (change.p or 0.0) * len(parts))
    return name, replace(change, p=p, changed=p <= LEVEL)


def _status(parts: tuple[tuple[str, PairedChange], ...]) -> Status:
    changes = [change for _, change in parts]
    if all(c.same and (c.p is None or c.families >= FEWEST_FAMILIES) for c in changes):
        return Status.SAME
    if any(c.p is None and c.changed for c in changes):
        return Status.CHANGED
    return Status.UNDECIDED


def _tested(result: Result, claim: ClaimReport | None) -> bool:
    """Whether a claim counts in Holm's family: all but facts of one checkpoint."""
    families = result.estimate is not None and result.estimate.clusters > 0
    return claim is None or claim.sampled or families


def _corrected(lines: list[ClaimChange], counted: list[bool]) -> list[ClaimChange]:
    """Correct by Holm over the base's claims; one that cannot be tested counts as 1."""
    counting = [i for i, counts in enumerate(counted) if counts]
    tested = [lines[i].change for i in counting]
    usable = [
        c.p if c is not None and c.p is not None and c.families >= FEWEST_FAMILIES else None
        for c in tested
    ]
    adjusted, survives = holm(usable, level=LEVEL)
    done = list(lines)
    for i, p, survived in zip(counting, adjusted, survives, strict=True):
        status = Status.CHANGED if survived else done[i].status
        done[i] = replace(done[i], p_adjusted=p, status=status)
    return [_explained(line) for line in done]


def _explained(line: ClaimChange) -> ClaimChange:
    """Give the reason of a compared claim in words."""
    change = line.change
    if change is None:
        return line
    margin = wording.number(change.margin)
    said = {
        Status.CHANGED: f"moved by more than {margin}",
        Status.SAME: f"stays within {margin}",
        Status.UNDECIDED: f"neither within {margin} nor clearly beyond",
    }[line.status]
    if change.margin == 0 and change.p is None:
        said = "unchanged" if line.status is Status.SAME else "a fact that moved"
    if change.p is not None and change.families < FEWEST_FAMILIES:
        said = f"{change.families} families shared; a decision needs {FEWEST_FAMILIES}"
    return replace(line, reason="; ".join(word for word in (said, line.reason) if word))


def _unpaired(
    key: Key, old: Result, new: Result, *, margin: float, noise: float, note: str, unit: str
) -> ClaimChange:
    """Compare two estimates without their prompts: right, but blind to small changes."""
    a, b = old.estimate, new.estimate
    line = replace(_plain(key, old, new, Status.UNDECIDED, note), paired=False, unit=unit)
    if a is None or b is None or a.value is None or b.value is None:
        return line
    if a.p is None and b.p is None and not (a.clusters or b.clusters):
        change = exact_change(b.value - a.value, margin=margin, error=noise)
        status = Status.CHANGED if change.changed else Status.SAME
        # A fact has no prompts to pair.
        return replace(line, change=change, status=status, reason="", paired=True)
    usable = all(e.method == T_FAMILIES and e.sd is not None and e.clusters > 1 for e in (a, b))
    if not usable:
        return line
    change = unpaired_change(
        (a.value, a.sd or 0.0, a.clusters), (b.value, b.sd or 0.0, b.clusters), margin=margin
    )
    status = Status.SAME if change.same and change.families >= FEWEST_FAMILIES else line.status
    return replace(line, change=change, status=status)


def _plain(
    key: Key, old: Result | None, new: Result | None, status: Status, reason: str, *, part: str = ""
) -> ClaimChange:
    return ClaimChange(
        *key, status, reason, part=part,
        base=old.verdict if old else None, candidate=new.verdict if new else None,
        how=new.how if new else None,
        before=_value(old), after=_value(new), held_against=new.model if new else "",
    )  # fmt: skip


def _value(result: Result | None) -> float | None:
    return result.estimate.value if result is not None and result.estimate is not None else None


def _key(result: Result, names: Mapping[str, str] | None = None) -> Key:
    model = (names or {}).get(result.model, result.model)
    return result.claim, model, result.prompts, result.arm


def renamed(base: Evidence, candidate: Evidence) -> dict[str, str]:
    """Candidate's model to base's, where each run has exactly one that the other lacks."""
    base_models, candidate_models = ({r.model for r in e.results} for e in (base, candidate))
    if len(base_models - candidate_models) == 1 and len(candidate_models - base_models) == 1:
        return {
            next(iter(candidate_models - base_models)): next(iter(base_models - candidate_models))
        }
    return {}


def _broken_instruments(
    base: Evidence, candidate: Evidence, lines: list[ClaimChange]
) -> list[ClaimChange]:
    """Failed checks, and new failures, of the candidate's models that no line tells of already."""
    told = {line.model for line in lines if line.status is Status.INSTRUMENT}
    known = {model.id for model in base.models if model.error}
    untold = []
    for model in candidate.models:
        if model.id in told:
            continue
        failed = [f"{check.name}: {check.detail}" for check in model.checks if not check.passed]
        if model.error and model.id not in known and not failed:
            failed = [model.error]
        untold += [ClaimChange("", model.id, "", "", Status.INSTRUMENT, said) for said in failed]
    return untold


def _notes(
    base: Evidence, candidate: Evidence, names: Mapping[str, str], paired: bool
) -> tuple[str, ...]:
    notes = [
        f"{candidate_name} is held against {base_name}"
        for candidate_name, base_name in names.items()
    ]
    if not paired:
        notes.append("unpaired: no observations.parquet beside both evidence files")
    hashes = {p.name: p.content_hash for p in base.prompts}
    notes += [
        f"prompt set {p.name} differs: only prompts of the same name and text are paired"
        for p in candidate.prompts
        if p.name in hashes and p.content_hash != hashes[p.name]
    ]
    margins = {c.id: c.margin for c in base.claims}
    notes += [
        f"{c.id}: the base's margin {margins[c.id]} counts, not the candidate's {c.margin}"
        for c in candidate.claims
        if c.id in margins and c.margin != margins[c.id]
    ]
    for what in ("device", "dtype"):
        values = getattr(base.environment, what), getattr(candidate.environment, what)
        if values[0] != values[1]:
            notes.append(f"{what} differs: {values[0]} and {values[1]}")
    return tuple(notes)
