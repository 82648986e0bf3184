"""``evidence.json``: written atomically, read back as the records it was made of.

Fields that this version does not know are ignored when read, so a file of the same schema written
by a later version stays readable; a missing field, a wrong type or another schema is an error.
"""

from __future__ import annotations

import json
import math
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import EvidenceError
from refutable.evidence.earlier import SCHEMA_1, converted
from refutable.records import SCHEMA, Evidence
from refutable.system import files

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError


def write(evidence: Evidence, path: str | os.PathLike[str]) -> None:
    """Write evidence as JSON, whole or not at all.

    NaN and infinity become ``null``; lone surrogates in texts become their escape sequence.

    Parameters
    ----------
    evidence : Evidence
        The records of a run.
    path : path
        File to write; its folder is made when missing.

    Raises
    ------
    EvidenceError
        If the records would not be read back, e.g. a counterexample whose value is NaN.
    """
    content = _plain(_adapter().dump_python(evidence, mode="python"))
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    _validate(text, Path(path), "would not be readable")
    files.write(Path(path), text.encode())


def read(path: str | os.PathLike[str]) -> Evidence:
    """Read an evidence file, of the present schema or of the one before.

    Parameters
    ----------
    path : path
        An ``evidence.json``.

    Returns
    -------
    Evidence
        The records, with verdicts, outcomes and readings as enumerations.

    Raises
    ------
    EvidenceError
        One line: the file is missing, unreadable, truncated, of another schema or malformed.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text)
    except FileNotFoundError:
        raise EvidenceError(f"no evidence at {file}: make one with `refutable verify`") from None
    except IsADirectoryError:
        raise EvidenceError(f"{file} is a folder: name the evidence.json in it") from None
    except json.JSONDecodeError as problem:
        raise EvidenceError(
            f"{file} is not whole JSON (line {problem.lineno}: {problem.msg}): truncated? rerun it"
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise EvidenceError(
            f"cannot read {file}: {reason}; give an evidence.json that `refutable verify` wrote"
        ) from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema == SCHEMA_1:
        text = json.dumps(converted(content))
    elif schema != SCHEMA:
        stated = repr(schema)[:60] if schema is not None else "none"
        raise EvidenceError(f"{file} has schema {stated}, expected {SCHEMA!r}: rerun it")
    return _validate(text, file, "is malformed")


@cache
def _adapter() -> TypeAdapter[Evidence]:
    from pydantic import TypeAdapter

    return TypeAdapter(Evidence)


def _validate(text: str, path: Path, complaint: str) -> Evidence:
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(text, strict=True)
    except ValidationError as problem:
        raise EvidenceError(f"{path} {complaint}: {_first(problem)}") from None


def _first(problem: ValidationError) -> str:
    """Where and what the first of the problems is, on one line."""
    first = problem.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the top level"
    more = problem.error_count() - 1
    return f"{where}: {' '.join(first['msg'].split())}" + (f" (and {more} more)" if more else "")


def _plain(value: object) -> object:
    """Records as JSON holds them: no NaN, no infinity, no lone surrogate."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
