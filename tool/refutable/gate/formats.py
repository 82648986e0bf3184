"""The answer of a gate as a Markdown page and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from refutable.gate.records import ClaimChange
from refutable.system import wording

if TYPE_CHECKING:
    from refutable.gate.answer import Answer

MOST_CHARACTERS = 65_000
"""A comment on a pull request takes 65,536."""


def markdown_page(first: str, lines: Sequence[str], claims: Sequence[ClaimChange]) -> str:
    """Return a page that a pull request's comment can hold: the answer, lines, claims folded."""
    told = [f"- {cut(cell(line))}" for line in lines[:20]]
    head = [f"**{cut(cell(first))}**", "", *told, ""]
    if len(lines) > 20:
        head.insert(-1, f"- and {len(lines) - 20} lines more in the log")
    table = [
        "<details><summary>All claims</summary>", "",
        "| | claim | model | prompts | arm | before | after | change | why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    end = ["", "</details>", "", "Intervals are 99.5 %."]
    left = MOST_CHARACTERS - sum(len(line) + 1 for line in (*head, *table, *end))
    rows = []
    for place, claim in enumerate(claims):
        row = _row(claim)
        left -= len(row) + 1
        if left < 100:
            rows.append(f"| | {len(claims) - place} more | | | | | | | |")
            break
        rows.append(row)
    return "\n".join([*head, *table, *rows, *end] if claims else head)


def _row(claim: ClaimChange) -> str:
    change = ""
    if claim.change is not None:
        change = f"{wording.number(claim.change.value, sign=True)} {claim.unit}"
    both = (claim.before, claim.after)
    values = ["" if v is None else wording.number(v, figures=4) for v in both]
    cells = (
        claim.status, claim.claim, claim.held_against or claim.model, claim.prompts, claim.arm,
        *values, change, claim.reason,
    )  # fmt: skip
    return "| " + " | ".join(cut(cell(str(word)), 300) for word in cells) + " |"


def cut(text: str, most: int = 1500) -> str:
    """Shorten a text; what is left ends in dots."""
    return text if len(text) <= most else text[: most - 3] + "..."


def cell(text: str) -> str:
    """Escape what Markdown or HTML would read as its own."""
    shown = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return shown.replace("<", "&lt;").replace(">", "&gt;")


def escaped(text: str, more: str = "") -> str:
    """Escape what a workflow command would read as its own."""
    for sign in f"%\r\n{more}":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def as_json(answer: Answer, first: str, lines: Sequence[str]) -> str:
    """Return everything as one JSON object."""
    content = {
        "schema": "refutable.gate/2",
        "exit_code": answer.exit_code,
        "summary": first,
        "lines": list(lines),
        "fail_on": list(answer.policy.fail_on),
        "margins": dict(answer.policy.margins),
        "undecided": answer.undecided,
        "compared": answer.compared,
        "broken": dict(answer.broken or {}),
        "models": [asdict(model) for model in answer.models],
        "changes": [asdict(c) for c in (answer.claims.changes if answer.claims else ())],
        "samples": [asdict(c) for c in answer.samples],
        "notes": list(answer.notes),
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
