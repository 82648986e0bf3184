"""A growing table of observations whose texts are kept as codes into one list of words a column."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.evidence.observations import COLUMNS, INTEGERS, TEXTS

if TYPE_CHECKING:
    import pandas as pd

SORTED_BY = ("claim", "model", "prompts", "arm", "quantity", "control", "prompt", "layer", "head")
NO_NUMBER = np.iinfo(np.int64).min
"""Stands for a missing layer or head; -1 is a layer, the embedding."""
NO_WORD = -1

Integers = np.ndarray[Any, np.dtype[np.int64]]


class Words:
    """The words of a column, numbered in the order in which they came."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, words: Iterable[str | None]) -> Integers:
        """Return the number of each word; -1 for none."""
        known = self._codes
        return np.array(
            [NO_WORD if w is None else known.setdefault(w, len(known)) for w in words],
            dtype=np.int64,
        )

    def ranked(self) -> tuple[Integers, list[str]]:
        """Return the rank of each number among the sorted words, and these."""
        words = list(self._codes)
        order = sorted(range(len(words)), key=words.__getitem__)
        ranks = np.full(len(words) + 1, NO_WORD, dtype=np.int64)
        ranks[order] = np.arange(len(words))
        # The last place is that of -1, no word.
        return ranks, [words[i] for i in order]


class Table:
    """Blocks of rows under keys; a key has its rows once."""

    def __init__(self) -> None:
        self.words = {name: Words() for name in TEXTS}
        self.of_prompts: dict[Hashable, dict[str, Integers]] = {}
        """Codes of what is known of the prompts of an array, by its labels."""
        self._blocks: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._blocks

    def clear(self) -> None:
        """Drop all rows."""
        self._blocks.clear()

    def add(self, key: str, size: int, columns: dict[str, Any]) -> None:
        """Take up rows.

        Parameters
        ----------
        key : str
            What the rows are of; a second block under a key is put behind the first.
        size : int
            Number of rows.
        columns : dict
            By column: codes or numbers, ``(row,)`` or one for all rows; missing ones are empty.
        """
        if size:
            self._blocks.setdefault(key, []).append((size, columns))

    def add_frame(self, frame: pd.DataFrame) -> None:
        """Take up rows that `frame` gave, such as those of another process."""
        columns: dict[str, Any] = {"value": frame["value"].to_numpy(float)}
        for name in TEXTS:
            column = frame[name].astype("category").array
            codes = self.words[name].code(str(word) for word in column.categories)
            columns[name] = np.append(codes, NO_WORD)[column.codes]
        for name in INTEGERS:
            columns[name] = frame[name].astype("Int64").fillna(NO_NUMBER).to_numpy("int64")
        self.add(f"frame {len(self._blocks)}", len(frame), columns)

    def frame(self, *, ordered: bool = True) -> pd.DataFrame:
        """Return the rows, texts as categories.

        Parameters
        ----------
        ordered : bool
            Whether to sort them, so that their order does not depend on who measured them first.
        """
        import pandas as pd

        blocks = [block for part in self._blocks.values() for block in part]
        columns: dict[str, Any] = {}
        words: dict[str, list[str]] = {}
        for name in COLUMNS:
            whole = _whole(blocks, name)
            if name in TEXTS:
                ranks, words[name] = self.words[name].ranked()
                whole = ranks[whole]
            columns[name] = whole
        if ordered:
            order = _order(columns)
            columns = {name: column[order] for name, column in columns.items()}
        made: dict[str, Any] = {"value": columns["value"]}
        for name in TEXTS:
            known = pd.Index(words[name], dtype=object)
            made[name] = pd.Categorical.from_codes(columns[name], known)
        for name in INTEGERS:
            missing = columns[name] == NO_NUMBER
            made[name] = pd.arrays.IntegerArray(columns[name], missing)
        return pd.DataFrame({name: made[name] for name in COLUMNS})


def _order(columns: Mapping[str, Any]) -> Integers:
    """Return the places of rows sorted by `SORTED_BY`; a missing word or number comes first.

    Rows come in blocks that are nearly sorted, which one number for each of them lets a sort use.
    """
    key, kinds = np.zeros(len(columns["value"]), dtype=np.int64), 1
    for name in SORTED_BY:
        column = columns[name]
        known = column[column != NO_NUMBER]
        least = known.min(initial=0) - 1
        shifted = np.where(column == NO_NUMBER, 0, column - least)
        kinds *= int(shifted.max(initial=0)) + 1
        if kinds >= 1 << 63:
            return np.asarray(np.lexsort([columns[name] for name in reversed(SORTED_BY)]))
        key = key * (int(shifted.max(initial=0)) + 1) + shifted
    return np.argsort(key, kind="stable")


def _whole(blocks: Sequence[tuple[int, dict[str, Any]]], name: str) -> Any:
    """Put a column together; one number stands for all rows of its block."""
    missing: Any = NO_WORD if name in TEXTS else NO_NUMBER if name in INTEGERS else np.nan
    kind = float if name == "value" else np.int64
    parts = [
        np.broadcast_to(np.asarray(columns.get(name, missing), dtype=kind), (size,))
        for size, columns in blocks
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)
