"""What is written down of a claim before it is measured."""

from __future__ import annotations

import hashlib
import linecache
from types import CodeType

from refutable.spec.claim import Claim


def source_hash(claim: Claim) -> str:
    """Hash a claim's function with its decorator, and what it states, as 16 hexadecimal digits.

    The lines of its file are read as they are: a comment inside the function counts, the rest of
    the file does not. Of a function without a file its code counts.
    """
    report = claim.report()
    stated = (
        claim.id, claim.statement, claim.refuted_if, claim.quantity, report.unit, report.control,
        report.applies_to,
    )  # fmt: skip
    text = "\n".join((*stated, _lines(claim)))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _lines(claim: Claim) -> str:
    code: CodeType = claim.body.__code__
    ends = [place[1] for place in code.co_positions() if place[1] is not None]
    last = max(ends, default=code.co_firstlineno)
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last]
    return "".join(lines) if lines else code.co_code.hex()
