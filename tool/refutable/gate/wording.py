"""The answer of a gate in words: one line that says it, then at most ten, most important first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from refutable.errors import RefutableError
from refutable.gate.answer import Answer, ModelAnswer
from refutable.gate.behaviour import UNITS, WORDS, BehaviourChange
from refutable.gate.facts import Fact, listed, spans
from refutable.gate.formats import as_json, escaped, markdown_page
from refutable.gate.profiles import PROFILES
from refutable.gate.records import FAILS, ClaimChange, Status
from refutable.system.wording import ends as ends_of
from refutable.system.wording import number

MOST_LINES = 10
"""Lines below the first; ``--verbose`` tells everything."""
_ANNOTATIONS = 10
_ALARMS = ("broken", "internals", *map(str, FAILS))
_CAUSES = ("weights", "config", "tokenizer")


def render(answer: Answer, format: str = "text", *, verbose: bool = False) -> str:
    """Word an answer.

    Parameters
    ----------
    answer : Answer
        What was found.
    format : {"text", "markdown", "json", "github"}
        ``github`` gives workflow annotations followed by the text.
    verbose : bool
        Whether to tell everything.
    """
    known: dict[str, Callable[[], str]] = {
        "text": lambda: _text(answer, verbose),
        "markdown": lambda: markdown_page(first_line(answer), _lines(answer), _every_claim(answer)),
        "json": lambda: as_json(answer, first_line(answer), _lines(answer)),
        "github": lambda: _github(answer, verbose),
    }
    if format not in known:
        raise RefutableError(f"expected format to be one of {tuple(known)}, got {format!r}")
    return known[format]()


def first_line(answer: Answer) -> str:
    """Say in one line whether the candidate passes, and why."""
    if answer.broken:
        name, why = next(iter(answer.broken.items()))
        return f"broken: {name} could not be measured: {why}"
    if not answer.failed:
        return f"same{_same(answer)}"
    word = "changed" if _something_changed(answer) else "undecided"
    pieces = [*_causes(answer), *_behaviour_said(answer), *_first_visible(answer)]
    if not answer.failing_facts and not answer.behaviour_changed:
        pieces = [*_claims_said(answer), *pieces]
    return f"{word}: {'; '.join(pieces) or 'see below'}"


def _something_changed(answer: Answer) -> bool:
    return bool(
        answer.failing_facts
        or answer.behaviour_changed
        or answer.profiles_changed
        or answer.failing_claims
    )


def _causes(answer: Answer) -> list[str]:
    """Up to two differences of the files that explain what the model says."""
    causes = list(answer.failing_facts)
    if not causes and (answer.behaviour_changed or answer.profiles_changed):
        rest = sorted((f for m in answer.models for f in m.facts), key=lambda f: f.rank)
        causes = [f for f in rest if f.kind in _CAUSES and f.rank <= 70][:1]
    words = [f"{fact.text}" for fact in causes[:2]]
    if len(causes) > 2:
        words.append(f"{len(causes) - 2} more differences of the files")
    if len(causes) == 1 and _nothing_else(answer, causes[0]):
        words[0] += ", nothing else differs"
    return words


def _nothing_else(answer: Answer, fact: Fact) -> bool:
    others = [f for m in answer.models for f in m.facts if f is not fact]
    return not others


def _behaviour_said(answer: Answer) -> Iterator[str]:
    for model in answer.models:
        leading = model.behaviour.leading if model.behaviour else None
        if leading is not None:
            yield _one_change(leading, answer)
            return


def _one_change(change: BehaviourChange, answer: Answer) -> str:
    margin = answer.policy.margins[change.quantity]
    arm = {"no-bos": "", "bos": " with BOS"}.get(change.arm, f" {change.arm}")
    interval = change.change
    ends = "" if interval.p is None else f" [{interval.low:.2g}, {interval.high:.2g}]"
    value = f"{interval.value:.2g}" if change.quantity != "loss" else f"{interval.value:+.2g}"
    within = {Status.CHANGED: "", Status.SAME: "within "}.get(change.status, "against ")
    said = f"{WORDS[change.quantity]}{arm} {value} {UNITS[change.quantity]}{ends}"
    return f"{said}, {within}margin {margin:g}"


def _first_visible(answer: Answer) -> list[str]:
    blocks = [p.first for p in answer.profiles_changed if p.first is not None]
    return [f"first visible in block {min(blocks)}"] if blocks else []


def _claims_said(answer: Answer) -> list[str]:
    failing = answer.failing_claims
    if not failing:
        return []
    words: dict[str, list[str]] = defaultdict(list)
    for line in failing:
        words[str(line.status)].append(line.claim or line.model)
    return [f"{status}: {listed(list(dict.fromkeys(names)), 2)}" for status, names in words.items()]


def _same(answer: Answer) -> str:
    told = [f.text for m in answer.models for f in m.facts if 40 < f.rank < 66]
    pieces = [*_behaviour_said(answer)]
    if answer.claims is not None:
        lines = [c for c in answer.claims.changes if c.status is not Status.NEW]
        same = sum(c.status is Status.SAME for c in lines)
        pieces.append(f"{same} of {len(lines)} claims the same")
    if answer.undecided:
        pieces.append(f"{answer.undecided} of {answer.compared} comparisons undecided")
    pieces += told[:2]
    return f": {'; '.join(pieces)}" if pieces else ""


# -- the lines below -----------------------------------------------------------------------------


def _lines(answer: Answer) -> list[str]:
    """Say everything that was found, most important first."""
    lines = [f"broken: {name}: {why}" for name, why in (answer.broken or {}).items()]
    for model in answer.models:
        if model.base != model.candidate:
            lines.append(f"{model.candidate} is held against {model.base}")
    for model in answer.models:
        lines += [f"files: {fact.text}" for fact in model.facts if fact.suspect]
        lines += list(_behaviour_lines(model, answer))
        lines += list(_profile_lines(model))
    lines += list(_claim_lines(answer))
    for model in answer.models:
        lines += [f"told: {fact.text}" for fact in model.facts if not fact.suspect]
        lines += [f"note: {note}" for note in model.notes]
    lines += [f"note: {note}" for note in answer.notes]
    said = set(lines)
    notes = answer.claims.notes if answer.claims else ()
    lines += [f"note: {note}" for note in notes if note not in said]
    return list(dict.fromkeys(" ".join(line.split()) for line in lines))


def _behaviour_lines(model: ModelAnswer, answer: Answer) -> Iterator[str]:
    if model.behaviour is None:
        return
    by_arm: dict[str, list[BehaviourChange]] = defaultdict(list)
    for change in model.behaviour.changes:
        by_arm[change.arm].append(change)
    order = sorted(by_arm, key=lambda a: not any(c.status is Status.CHANGED for c in by_arm[a]))
    for arm in order:
        parts = [f"{_value(c)} {c.status}" for c in by_arm[arm]]
        worst = max(by_arm[arm], key=lambda c: abs(c.largest) if c.quantity == "kl" else -1.0)
        where = f"; largest in {worst.prompt} ({worst.largest:.2g})" if worst.largest else ""
        yield f"behaviour ({arm}): {', '.join(parts)}{where}"


def _value(change: BehaviourChange) -> str:
    interval = change.change
    name = {"kl": "KL", "top": "top token", "loss": "loss"}[change.quantity]
    if change.before is not None and change.after is not None:
        return f"{name} {change.before:.3f} -> {change.after:.3f}"
    return f"{name} {interval.value:.2g}"


def _profile_lines(model: ModelAnswer) -> Iterator[str]:
    for profile in model.profiles:
        if profile.changed:
            moved = spans(list(profile.changed))
            kind = PROFILES[profile.quantity]
            where = f"block {moved}" if len(profile.changed) == 1 else f"blocks {moved}"
            yield (
                f"internals: {kind.words} ({profile.arm}) moved in {where} of {profile.blocks}, "
                f"most in block {profile.block} ({profile.largest.value:+.2g} {kind.unit})"
            )


def _claim_lines(answer: Answer) -> Iterator[str]:
    """Tell claims that changed one by one, and what broke many of them once."""
    lines = [*(answer.claims.changes if answer.claims else ()), *answer.samples]
    reasons: dict[tuple[Status, str], list[ClaimChange]] = defaultdict(list)
    for line in lines:
        if line.status in (Status.INSTRUMENT, Status.LOST):
            reasons[line.status, line.reason].append(line)
    for (status, reason), group in reasons.items():
        names = list(dict.fromkeys(line.claim or line.model for line in group))
        yield f"{status}: {listed(names, 2)}: {reason}"
    for line in lines:
        if line.status in (Status.CHANGED, Status.COUNTEREXAMPLE):
            yield f"{'told' if line.told_only else line.status}: {claim_said(line)}"
    undecided = [line.claim for line in lines if line.status is Status.UNDECIDED]
    if undecided:
        told = listed(list(dict.fromkeys(undecided)), 2)
        yield f"undecided: {len(undecided)} of {len(lines)} claims ({told})"
    moved = [line for line in lines if line.verdict_moved]
    if moved:
        names = [f"{line.claim} {line.base} to {line.candidate}" for line in moved]
        yield f"verdicts that moved (they gate nothing): {listed(names, 2)}"


def claim_said(line: ClaimChange) -> str:
    """Word one claim: before and after, the change with its interval, and the reason."""
    arm = f" ({', '.join(w for w in (line.prompts, line.arm) if w)})"
    levels = ""
    if line.before is not None and line.after is not None:
        levels = f" {number(line.before)} -> {number(line.after)}"
    change = ""
    if line.change is not None:
        interval = line.change
        ends = "" if interval.p is None else f" {ends_of(interval.low, interval.high, sign=True)}"
        change = f", change {number(interval.value, sign=True)}{ends} {line.unit}".rstrip()
    return f"{line.claim}{arm}{levels}{change}; {line.reason}"


def _text(answer: Answer, verbose: bool) -> str:
    lines = _lines(answer)
    if verbose:
        lines += [f"{c.status}: {claim_said(c)}" for c in _every_claim(answer)]
        if answer.claims is not None:
            size = answer.claims.family_size
            lines.append(f"p of claims: Holm over {size}; intervals are 99.5 %")
    elif len(lines) > MOST_LINES:
        more = len(lines) - MOST_LINES + 1
        lines = [*lines[: MOST_LINES - 1], f"and {more} lines more (--verbose)"]
    return "\n".join([first_line(answer), *(f"  {line}" for line in lines)])


def _every_claim(answer: Answer) -> Sequence[ClaimChange]:
    order = (*FAILS, Status.UNDECIDED, Status.NEW, Status.SAME)
    lines: Iterable[ClaimChange] = (
        *(answer.claims.changes if answer.claims else ()),
        *answer.samples,
    )
    return sorted(lines, key=lambda c: (order.index(c.status), c.claim, c.model, c.arm))


def _github(answer: Answer, verbose: bool) -> str:
    kind = "error" if answer.failed else "notice"
    names = [model.candidate for model in answer.models] or [""]
    title = escaped(f"gate: {names[0]}" if names[0] else "gate", more=":,")
    lines = [f"::{kind} title={title}::{escaped(first_line(answer))}"]
    important = [line for line in _lines(answer) if line.split(":")[0] in _ALARMS]
    for line in important[: _ANNOTATIONS - 1]:
        word = "error" if answer.failed else "warning"
        lines.append(f"::{word} title={title}::{escaped(line)}")
    return "\n".join([*lines, _text(answer, verbose)])
