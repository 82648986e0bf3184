"""Counterexamples that were found, kept between runs and replayed first.

One TOML file for each claim. Those of the suite's own models lie in its folder
``counterexamples/`` and come with it; what a run finds goes to ``.refutable/counterexamples`` where
it was started. A file is replaced as a whole, so a killed search leaves what it had.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from refutable.errors import PromptError, RefutableError
from refutable.falsify.vocabulary import Ids
from refutable.system import files

FOLDER = "counterexamples"
LOCAL = f".refutable/{FOLDER}"
"""Where a run keeps what it finds, from the folder that it is started in."""
_HEAD = "# Counterexamples of one claim, replayed first on every run. A table may be deleted.\n"


@dataclass(frozen=True, slots=True)
class Stored:
    """A counterexample as it is kept."""

    claim: str
    model: str
    weights: str
    """Digest of the weights that it was found on."""
    tokenizer: str
    """Digest of the tokenizer; empty without one."""
    arm: str
    ids: Ids
    """Token ids without the BOS token that the arm puts first."""
    text: str
    """The same as escaped text, for a reader."""
    value: float
    """Of the claim's body, from one forward pass of this prompt alone in float32."""
    region: str
    """The predicted region that it lies outside of."""
    how: str
    """Where the first violating prompt came from."""
    tokens_before: int
    """Tokens of the first violating prompt, before it was shrunk."""
    complete: bool = True
    """Whether it was shrunk to the end; a search that was interrupted leaves it ``false``."""
    search: str = ""
    """Digest of the search that found it: the same search again need not take it for news."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is one of: a claim on one model's weights in one arm."""
        return self.claim, self.weights, self.arm


class CounterexampleStore:
    """Reads and keeps counterexamples.

    Parameters
    ----------
    own : Path
        Folder that is written to; it is made when something is kept.
    shipped : sequence of Path
        Folders that come with suites; they are read only, and first.
    """

    def __init__(self, folder: Path, shipped: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.shipped = tuple(shipped)
        self._frozen: dict[str, list[Stored] | PromptError] | None = None

    def freeze(self) -> None:
        """Let `of` return what is kept now, whatever is found later.

        A run asks with what it began with: its searches then do not depend on which of its
        processes found something first.
        """
        folders = [folder for folder in (*self.shipped, self.folder) if folder.is_dir()]
        names = {path.stem for folder in folders for path in folder.glob("*.toml")}
        self._frozen = {}
        for claim in sorted(names):
            try:
                self._frozen[claim] = self._read(claim)
            except PromptError as problem:
                # It is told by the claim that asks for it, and stops no other.
                self._frozen[claim] = problem

    def of(self, claim: str) -> list[Stored]:
        """Return what is kept of a claim, the suite's own first; no prompt twice.

        Raises
        ------
        PromptError
            If a file cannot be read, in one line that names it.
        """
        if self._frozen is None:
            return self._read(claim)
        kept = self._frozen.get(claim, [])
        if isinstance(kept, PromptError):
            raise kept
        return list(kept)

    def _read(self, claim: str) -> list[Stored]:
        stored: dict[tuple[Any, ...], Stored] = {}
        for folder in (*self.shipped, self.folder):
            for one in read(folder / f"{claim}.toml"):
                stored.setdefault((*one.key, one.ids), one)
        return list(stored.values())

    def put(self, new: Stored) -> None:
        """Keep a counterexample in place of what is kept of the same claim, weights and arm."""
        with self._locked(new.claim) as path:
            write(path, [*(one for one in read(path) if one.key != new.key), new])

    def drop(self, old: Stored) -> bool:
        """Forget a counterexample that holds no longer; ``False`` where it comes with a suite."""
        if not (self.folder / f"{old.claim}.toml").is_file():
            return False
        with self._locked(old.claim) as path:
            kept = read(path)
            left = [one for one in kept if (one.key, one.ids) != (old.key, old.ids)]
            if len(left) < len(kept):
                write(path, left)
        return len(left) < len(kept)

    @contextmanager
    def _locked(self, claim: str) -> Iterator[Path]:
        from filelock import FileLock

        path = self.folder / f"{claim}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Models of one claim are searched by workers at the same time.
        with FileLock(path.with_suffix(".lock")):
            yield path


def read(path: Path) -> list[Stored]:
    """Read a file of counterexamples; a missing one holds none.

    The file may be a prompt set too, with ``[[family]]`` tables: those are prompts to try on every
    model and are not returned here.

    Raises
    ------
    PromptError
        If it is malformed.
    """
    if not path.is_file():
        return []
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("counterexample", [])
        return [_stored(table) for table in tables]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        reason = " ".join(str(problem).split())
    except (KeyError, TypeError, ValueError) as problem:
        reason = f"a [[counterexample]] table is malformed ({type(problem).__name__}: {problem})"
    raise PromptError(f"cannot read {path.name}: {reason}; mend or delete {path}")


def _stored(table: Any) -> Stored:
    known = {field.name for field in fields(Stored)}
    values = {name: value for name, value in table.items() if name in known}
    ids = tuple(values["ids"])
    if not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError(f"ids must be token ids of 0 or more, got {values['ids']!r}")
    return Stored(**{**values, "ids": ids, "value": float(values["value"])})


def write(path: Path, kept: Iterable[Stored]) -> None:
    """Write a file of counterexamples, sorted; without any, the file goes away.

    Prompts of ``[[family]]`` tables, which are written by hand, are never touched: a file that has
    any is refused.
    """
    ordered = sorted(kept, key=lambda one: (one.model, one.arm, one.weights))
    if path.is_file() and "family" in tomllib.loads(path.read_text("utf-8")):
        raise RefutableError(f"{path} holds prompts written by hand: move them to another file")
    if not ordered:
        path.unlink(missing_ok=True)
        return
    tables = ["\n".join(["[[counterexample]]", *_lines(one)]) for one in ordered]
    files.write(path, "\n\n".join([_HEAD, *tables]) + "\n")


def _lines(one: Stored) -> list[str]:
    # JSON's strings, numbers, booleans and lists of numbers are TOML's too; text is escaped
    # before it is kept, so that no control character is left in it.
    return [
        f"{name} = {json.dumps(list(v) if isinstance(v, tuple) else v, ensure_ascii=False)}"
        for name, v in asdict(one).items()
    ]
