"""The gate's outcome as text, Markdown, JSON or GitHub annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from refutable.errors import RefutableError
from refutable.gate.records import FAILS, ClaimChange, GateReport, Status

ORDER = (*FAILS, Status.UNDECIDED, Status.NEW, Status.SAME)


def render(report: GateReport, format: str = "text") -> str:
    """Word a gate's outcome.

    Parameters
    ----------
    report : GateReport
        The outcome.
    format : {"text", "markdown", "json", "github"}
        ``github`` gives workflow annotations followed by the text.
    """
    known: dict[str, Callable[[GateReport], str]] = {
        "text": _text,
        "markdown": _markdown,
        "json": _json,
        "github": _github,
    }
    if format not in known:
        raise RefutableError(f"expected format to be one of {tuple(known)}, got {format!r}")
    return known[format](report)


def summary(report: GateReport) -> str:
    """Say the outcome in one line."""
    counts = {status: 0 for status in ORDER}
    for change in report.changes:
        counts[change.status] += 1
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no claims"
    strict = " (strict: every claim must be the same)" if report.strict else ""
    return f"gate {'failed' if report.exit_code else 'passed'}: {said}{strict}"


def _sorted(report: GateReport) -> list[ClaimChange]:
    return sorted(report.changes, key=lambda c: (ORDER.index(c.status), c.claim, c.model, c.arm))


def _moved(report: GateReport) -> list[str]:
    return [
        f"{_where(c)}: {c.base} to {c.candidate}{f' ({c.how})' if c.how is not None else ''}"
        for c in _sorted(report)
        if c.verdict_moved
    ]


def _where(change: ClaimChange) -> str:
    inside = ", ".join(word for word in (change.model, change.prompts, change.arm) if word)
    return f"{change.claim or 'instrument'} ({inside})"


def _number(change: ClaimChange) -> str:
    """The change with the interval that decides (its guard)."""
    found = change.change
    if found is None:
        return ""
    unit = f" {change.unit}" if change.unit else ""
    ends = "" if found.p is None or math.isinf(found.low) else (
        f" [{found.low:+.3g}, {found.high:+.3g}]"
    )  # fmt: skip
    part = f"{change.part}: " if change.part else ""
    p = "" if change.p_adjusted is None else f", p {change.p_adjusted:.2g}"
    return f"{part}{found.value:+.3g}{ends}{unit}{p}"


def _text(report: GateReport) -> str:
    lines = [summary(report)]
    for change in _sorted(report):
        pieces = [_number(change), change.reason, "" if change.paired else "unpaired"]
        seen = "; ".join(dict.fromkeys(piece for piece in pieces if piece))
        lines.append(f"{change.status.upper():<17} {_where(change)}  {_one_line(seen)}")
    lines += [f"verdict moved (gates nothing): {line}" for line in _moved(report)]
    lines += [f"note: {note}" for note in report.notes]
    lines.append(f"p: Holm over {report.family_size} claims; ends of a change: its guard, 99.5 %")
    return "\n".join(lines)


def _markdown(report: GateReport) -> str:
    head = ("| | claim | model | change | why |", "|---|---|---|---|---|")
    lines = [f"**{summary(report)}**", "", *head]
    for change in _sorted(report):
        cells = (change.status, change.claim, change.model, _number(change), change.reason)
        lines.append("| " + " | ".join(_cell(str(cell)) for cell in cells) + " |")
    moved = _moved(report)
    if moved:
        lines += ["", "Verdicts that moved (they gate nothing):", ""]
        lines += [f"- {_cell(line)}" for line in moved]
    if report.notes:
        lines += [""] + [f"- {_cell(note)}" for note in report.notes]
    lines += [
        "",
        f"p adjusted by Holm over {report.family_size} claims; ends are those of the guard.",
    ]
    return "\n".join(lines)


def _json(report: GateReport) -> str:
    content = {
        "schema": "refutable.gate/1",
        "exit_code": report.exit_code,
        "summary": summary(report),
        **asdict(report),
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def _github(report: GateReport) -> str:
    lines = []
    for change in _sorted(report):
        kind = "error" if change.status in FAILS else ""
        if change.status is Status.UNDECIDED:
            kind = "error" if report.strict else "warning"
        if kind:
            body = "; ".join(word for word in (_number(change), change.reason) if word)
            title = _escape(f"{change.status}: {_where(change)}", more=":,")
            lines.append(f"::{kind} title={title}::{_escape(body)}")
    return "\n".join([*lines, _text(report)])


def _escape(text: str, more: str = "") -> str:
    """Escape what a workflow command would read as its own."""
    for sign in f"%\r\n{more}":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    shown = _one_line(text).replace("\\", "\\\\").replace("|", "\\|")
    return shown.replace("<", "&lt;").replace(">", "&gt;")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
