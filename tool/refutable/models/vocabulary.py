"""One vocabulary in one folder: files of two tokenizers that differ are refused. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from refutable.errors import ModelError
from refutable.models.checkpoint import read_json


def refuse_two(folder: Path) -> None:
    """Refuse a folder whose tokenizer files hold two vocabularies.

    Parameters
    ----------
    folder : pathlib.Path
        May hold ``tokenizer.json`` and, as older libraries wrote it, ``vocab.json`` or
        ``vocab.txt`` beside it.

    Raises
    ------
    ModelError
        If a token has one id in one file and another in the other: which of the two is read hangs
        on the library and its version.
    """
    whole, listed, lines = (folder / n for n in ("tokenizer.json", "vocab.json", "vocab.txt"))
    if not whole.is_file() or not (listed.is_file() or lines.is_file()):
        return
    known = _ids(read_json(whole))
    if listed.is_file():
        other, others = listed, read_json(listed)
    else:
        other = lines
        words = lines.read_text(encoding="utf-8", errors="replace").splitlines()
        others = {word: at for at, word in enumerate(words)}
    differing = [
        (token, known[token], at)
        for token, at in others.items()
        if isinstance(at, int) and known.get(token, at) != at
    ]
    if known and differing:
        token, one, two = differing[0]
        raise ModelError(
            f"{folder} holds two tokenizers: {token!r} is {one} in {whole.name} and {two} in "
            f"{other.name} ({len(differing)} tokens differ); remove the file that is left over"
        )


def _ids(tokenizer: Mapping[str, object]) -> dict[str, int]:
    """Ids by token of a ``tokenizer.json``, where its model lists them by name."""
    model = tokenizer.get("model")
    words = model.get("vocab") if isinstance(model, Mapping) else None
    known = {str(t): int(i) for t, i in words.items()} if isinstance(words, Mapping) else {}
    added = tokenizer.get("added_tokens")
    for entry in added if isinstance(added, list) and known else ():
        known[str(entry["content"])] = int(entry["id"])
    return known
