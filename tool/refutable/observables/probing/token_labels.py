"""Labels of tokens that need no annotation: what the characters of a text say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    Integers = NDArray[np.integer]

LABELS = {
    "token class": ("word", "number", "punctuation", "space"),
    "capitalisation": ("no letter", "lower case", "capital"),
    "place in word": ("outside", "first", "later"),
    "next character": ("letter", "digit", "punctuation", "space"),
    "bracket depth": ("outside", "inside"),
}
"""Classes of each label."""


def token_spans(tokenizer: PreTrainedTokenizerBase, text: str) -> list[tuple[int, int]]:
    """Characters of each token of a text, as ``(start, end)``.

    Taken from the tokenizer's offsets; where it gives none, each token is decoded and looked for
    after the one before it.
    """
    try:
        encoded = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    except (NotImplementedError, KeyError, TypeError):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans, at = [], 0
    for token in ids:
        piece = str(tokenizer.decode([token]))
        start = text.find(piece, at)
        if start < 0 or start > at + 2:
            piece = piece.strip()
            start = text.find(piece, at)
        if start < 0 or start > at + 2:
            # A part of a character, or a normalized one: it stands where it must.
            start, piece = at, text[at : at + 1]
        at = start + len(piece)
        spans.append((start, at))
    return spans


def labels_of(text: str, spans: Sequence[tuple[int, int]]) -> Integers:
    """Classes of tokens, from their characters alone: ``(label, token)``.

    Parameters
    ----------
    text : str
        The whole text.
    spans : sequence of (int, int)
        Characters of consecutive tokens. White space at a token's ends is not part of it.

    Notes
    -----
    Bracket depth is that of brackets and double quotation marks open since the paragraph began; a
    mark that opens or closes counts as inside and outside respectively.
    """
    seen = text.rfind("\n", 0, spans[0][0]) + 1 if spans else 0
    depth, quoted = 0, False
    rows = []
    for start, end in spans:
        piece = text[start:end]
        first = start + len(piece) - len(piece.lstrip())
        core = piece.strip()
        last = first + len(core)
        until = first + 1 if core else first
        for character in text[seen:until]:
            depth, quoted = _depth(character, depth, quoted)
        seen = max(seen, until)
        kind = _character(core[:1])
        before = text[first - 1 : first]
        place = ("later" if before.isalnum() else "first") if core[:1].isalnum() else "outside"
        named = {
            "token class": {"letter": "word", "digit": "number"}.get(kind, kind),
            "capitalisation": _case(core),
            "place in word": place,
            "next character": _character(text[last : last + 1]),
            "bracket depth": "inside" if depth or quoted else "outside",
        }
        rows.append([LABELS[label].index(named[label]) for label in LABELS])
    return np.array(rows, dtype=np.int64).reshape(len(spans), len(LABELS)).T


def _character(character: str) -> str:
    if not character or character.isspace():
        return "space"
    if character.isalpha():
        return "letter"
    return "digit" if character.isdigit() else "punctuation"


def _case(core: str) -> str:
    if not any(character.isalpha() for character in core):
        return "no letter"
    return "capital" if any(character.isupper() for character in core) else "lower case"


def _depth(character: str, depth: int, quoted: bool) -> tuple[int, bool]:
    """Brackets open after a character, and whether a quotation is."""
    if character == "\n":
        return 0, False
    if character in "([{":
        depth += 1
    elif character in ")]}":
        depth = max(0, depth - 1)
    elif character in "\u201c\u201d":
        quoted = character == "\u201c"
    elif character == '"':
        quoted = not quoted
    return depth, quoted
