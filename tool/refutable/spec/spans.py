"""Named spans and answers of a prompt, as a prompt-set file states them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from refutable.errors import PromptError

if TYPE_CHECKING:
    from refutable.system.typing import Json


def positions_of(span: Json, length: int | None, where: str) -> dict[str, tuple[int, ...]]:
    """Read one table of named positions; of token ids, each must lie inside the prompt."""
    if not isinstance(span, dict):
        raise PromptError(f"{where} needs a table of spans, got {span!r}")
    named = {}
    for key, value in span.items():
        if not isinstance(value, list) or not all(type(i) is int and i >= 0 for i in value):
            raise PromptError(f"{where}: span {key!r} needs a list of positions, got {value!r}")
        past = [i for i in value if length is not None and i >= length]
        if past:
            raise PromptError(
                f"{where}: span {key!r} reaches position {past[0]}, past the end of a prompt of "
                f"{length} tokens"
            )
        named[key] = tuple(value)
    return named


def answer_of(answer: Json, where: str) -> str | tuple[int, ...] | None:
    """Read a prompt's right answer: text, token ids, or none."""
    if answer is None or (isinstance(answer, str) and answer):
        return answer
    if isinstance(answer, list) and answer and all(type(i) is int and i >= 0 for i in answer):
        return tuple(answer)
    raise PromptError(f"{where} needs an answer of text or token ids, got {answer!r}")


_MARK = re.compile(r"\{(\w+)\|([^{}]+)\}")


def unmarked(text: str, where: str) -> tuple[str, dict[str, tuple[int, int]]]:
    """Take ``{name|...}`` out of a text; return it with the range of characters of each name."""
    plain, marks, at = "", {}, 0
    for mark in _MARK.finditer(text):
        plain += text[at : mark.start()]
        name, inner = mark.groups()
        if name in marks:
            raise PromptError(f"{where} marks {name!r} twice: give each span a name of its own")
        marks[name] = (len(plain), len(plain) + len(inner))
        plain += inner
        at = mark.end()
    plain += text[at:]
    if "{" in plain or "}" in plain:
        raise PromptError(f"{where} has a brace that is no mark like {{t0|3 boxes}}: mend it")
    return plain, marks
