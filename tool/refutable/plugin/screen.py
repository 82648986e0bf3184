"""What a run prints by default: one screen.

A table of the studies, a claim counted once; then what needs a reader; then where the rest lies.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from refutable.plugin.wording import VERDICT_WIDTH, Piece, cell_name, details, style_of, verdict
from refutable.records import ClaimReport, Evidence, Outcome, Result, Verdict
from refutable.report import tables
from refutable.report.findings import FINDINGS, by_study, findings, head
from refutable.report.reasons import why_open

ROOM = 25
"""Lines of a screen of 40 that are left after what pytest prints itself, but for its dots."""
DOTS = 68
"""Dots of cells in a line of 80 columns."""
LEAST = 4
"""Lines that what needs a reader has at least."""
URGENT = 4
"""Entries below this urgency need a reader: errors, failures, what moved, what is new."""
STUDIES = 12
"""Most rows of the table."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a run came to, as far as a terminal shows it."""

    evidence: Evidence
    messages: Mapping[str, str] = field(default_factory=dict)
    """What the comparison with the baseline said, by node id; where it said nothing, nothing."""
    failed: frozenset[str] = frozenset()
    """Node ids of cells whose test failed for its verdict."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a reader should see: a head word, and the lines after it."""

    urgency: int
    word: str
    style: Mapping[str, bool]
    lines: tuple[str, ...]


def lines(screen: Screen, width: int) -> list[tuple[Piece, ...]]:
    """Lay out the screen.

    Parameters
    ----------
    screen : Screen
        Of the run.
    width : int
        Columns of the terminal.

    Returns
    -------
    list of tuple of Piece
        Lines of at most `width` columns, each in pieces with their style; at most `ROOM` of them.
    """
    evidence = screen.evidence
    cells = list(_rows(_cells(evidence), width))
    table = [*_table(evidence, width), *cells]
    entries = _entries(screen, width)
    room = ROOM - len(evidence.results) // DOTS - len(table)
    if sum(len(entry.lines) for entry in entries) <= room:
        return [*_plain(table), *_shown(entries, room)]
    urgent = [entry for entry in entries if entry.urgency < URGENT]
    below = [
        *_refuted(evidence, width),
        *_rows(_open(evidence), width),
        *_rows(_weak(evidence), width),
    ]
    return [*_plain([*table, *below]), *_shown(urgent, max(room - len(below), LEAST))]


def _plain(rows: Iterable[str]) -> Iterable[tuple[Piece, ...]]:
    return (((row, {}),) for row in rows)


def _rows(texts: Iterable[str], width: int) -> Iterable[str]:
    for text in texts:
        yield from textwrap.wrap(text, width, max_lines=2, placeholder=" …", subsequent_indent="  ")


# -- the table ---------------------------------------------------------------------------------


def _table(evidence: Evidence, width: int) -> list[str]:
    counts = by_study(findings(evidence.results))
    shown = [s for s in FINDINGS if any(count[s] for count in counts.values())]
    rows = [
        (study, sum(count.values()), *(count[s] for s in shown)) for study, count in counts.items()
    ]
    if len(rows) > 1:
        rows.append(("all", *(sum(column) for column in zip(*(r[1:] for r in rows), strict=True))))
    hidden = len(rows) - STUDIES
    if hidden > 0:
        rows = [*rows[: STUDIES - 1], rows[-1]]
    heads = ("study", "claims", *(head(state) for state in shown))
    named = max(len(str(row[0])) for row in (heads, *rows))
    first = max(8, min(named, width - sum(len(h) + 2 for h in heads[1:])))
    out = []
    for row in (heads, *rows):
        numbers = "".join(
            f"  {n if n != 0 else '-':>{len(h)}}" for n, h in zip(row[1:], heads[1:], strict=True)
        )
        out.append(f"{_short(str(row[0]), first):<{first}}{numbers}")
    if hidden > 0:
        out.insert(-1, f"({hidden + 1} more studies)")
    return out


def _cells(evidence: Evidence) -> Iterable[str]:
    """Say what the cells come to, and what their controls said."""
    cells = tables.tally(evidence.results)
    said = ", ".join(f"{n} {'n/a' if name == 'skipped' else name}" for name, n in cells.items())
    yield f"{sum(cells.values())} cells (claim, model, arm): {said}"
    controls = ", ".join(f"{n} {name}" for name, n in tables.readings(evidence.results).items())
    if controls:
        yield f"null controls: {controls}"


def _refuted(evidence: Evidence, width: int) -> Iterable[str]:
    """Name, for each way of being refuted, the claims that were; a line each."""
    by_how: dict[str, dict[str, None]] = {}
    for result in evidence.results:
        if result.how is not None:
            by_how.setdefault(str(result.how), {})[result.claim] = None
    for how, claims in sorted(by_how.items(), key=lambda pair: -len(pair[1])):
        start = f"refuted, {how} ({len(claims)}): "
        yield start + _as_many_as_fit(list(claims), width - len(start))


def _as_many_as_fit(names: Sequence[str], width: int) -> str:
    for number in range(len(names), 0, -1):
        rest = f" and {len(names) - number} more" if number < len(names) else ""
        said = ", ".join(names[:number]) + rest
        if len(said) <= width:
            return said
    return _short(f"{names[0]} and {len(names) - 1} more", width)


def _open(evidence: Evidence) -> Iterable[str]:
    claims = {claim.id: claim for claim in evidence.claims}
    whys = Counter(kind for r in evidence.results for kind, _ in [_why(r, claims)] if kind)
    if whys:
        yield f"inconclusive: {_listed(whys)}"


def _weak(evidence: Evidence) -> Iterable[str]:
    weak = sum(r.survives_holm is False for r in evidence.results)
    if weak:
        size = evidence.environment.family_size
        yield f"{weak} of {size} sampled verdicts would not survive Holm's adjustment (* with -v)"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


def _why(result: Result, claims: Mapping[str, ClaimReport]) -> tuple[str, str]:
    claim = claims.get(result.claim)
    return ("", "") if claim is None else why_open(result, claim)


# -- what needs a reader -----------------------------------------------------------------------


def _entries(screen: Screen, width: int) -> list[Entry]:
    """Return everything that could be shown, what needs a reader most first."""
    claims = {claim.id: claim for claim in screen.evidence.claims}
    shown = [r for r in screen.evidence.results if r.outcome is not Outcome.SKIPPED]
    entries = [*_errors(shown, width)]
    entries += [_entry(r, claims, screen, width) for r in shown if r.outcome is not Outcome.ERROR]
    return sorted(entries, key=lambda entry: entry.urgency)


def _shown(entries: Sequence[Entry], room: int) -> list[tuple[Piece, ...]]:
    out: list[tuple[Piece, ...]] = []
    for place, entry in enumerate(entries):
        left = len(entries) - place
        # The first is shown whatever its length: a screen that says only how many helps nobody.
        if place and len(out) + len(entry.lines) > room - (left > 1):
            said = f"{'':{VERDICT_WIDTH}}and {left} more: -v or the report shows them"
            return [*out, ((said, {}),)]
        out += _printed(entry)
    return out or [(("every verdict is as recorded", {"green": True}),)]


def _printed(entry: Entry) -> Iterable[tuple[Piece, ...]]:
    for place, line in enumerate(entry.lines):
        first = f"{entry.word if place == 0 else '':<{VERDICT_WIDTH}}"
        yield ((first, entry.style if place == 0 else {}), (line, {}))


def _errors(results: Iterable[Result], width: int) -> Iterable[Entry]:
    """Say each reason once, with what it was met on."""
    met: dict[str, list[Result]] = {}
    for result in results:
        if result.outcome is Outcome.ERROR:
            met.setdefault(result.reason, []).append(result)
    # What helps stands at the end of a reason: it is cut only where there are many.
    most = 9 if len(met) <= 2 else 4
    for reason, reports in met.items():
        models = list(dict.fromkeys(r.model for r in reports))
        claims = list(dict.fromkeys(r.claim for r in reports))
        what = claims[0] if len(claims) == 1 else f"{len(claims)} claims"
        where = models[0] if len(models) == 1 else f"{len(models)} models"
        said = f"{what} on {where}: {reason or 'no reason'}"
        yield Entry(0, "ERROR", {"red": True}, _folded(said, width, most))


def _entry(result: Result, claims: Mapping[str, ClaimReport], screen: Screen, width: int) -> Entry:
    message = screen.messages.get(result.nodeid, "")
    style: Mapping[str, bool]
    if result.nodeid in screen.failed:
        urgency, style = 1, {"red": True}
    elif message and result.expected is not None:
        urgency, style, message = 2, {"yellow": True}, f"moved: {message}"
    elif result.expected is None:
        urgency, style = (3 if result.verdict is Verdict.REFUTED else 5), style_of(result)
    else:
        urgency, style = 6, style_of(result)
    new = result.verdict is Verdict.REFUTED and result.expected is None
    said = message if urgency in (1, 2) and not new else ""
    shown = f"{cell_name(result)}  {details(result, claims.get(result.claim), said)}"
    return Entry(urgency, verdict(result), style, _folded(shown, width))


def _folded(text: str, width: int, most: int = 3) -> tuple[str, ...]:
    """Break a text into lines beside the column of verdicts."""
    room = max(20, width - VERDICT_WIDTH)
    return tuple(textwrap.wrap(text, room, max_lines=most, placeholder=" …"))


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
