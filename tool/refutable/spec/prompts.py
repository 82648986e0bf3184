"""Prompt sets: prompts in families, the units that intervals are made over."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from refutable.errors import PromptError, near, one_line
from refutable.spec.prompt_set import Prompt as Prompt
from refutable.spec.prompt_set import PromptSet as PromptSet
from refutable.spec.prompt_set import content_hash
from refutable.spec.spans import answer_of, positions_of, unmarked


class PromptLibrary:
    """Prompt sets by name, each read once; called with a name it gives the set.

    Parameters
    ----------
    folders : sequence of Path
        Folders with ``prompts/`` and ``counterexamples/`` in them, the first found wins.
    base : Path, optional
        Where a name that ends in ``.toml`` is looked for; otherwise the current folder.
    sets : mapping, optional
        Prompt sets that are known already, by name.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        base: Path | None = None,
        sets: Mapping[str, PromptSet] | None = None,
    ) -> None:
        self._folders = folders
        self._base = base
        self._sets = dict(sets or {})
        self._placed: dict[str, Path] = {}

    def __call__(self, name: str) -> PromptSet:
        """Return a prompt set, read when it is first asked for."""
        if name not in self._sets:
            folders = [folder / "prompts" for folder in self._folders]
            where = name
            if name in self._placed:
                where = str(self._placed[name])
            elif name.endswith(".toml"):
                where = str(((self._base or Path.cwd()) / name).resolve())
            self._sets[name] = load_prompts(where, folders)
        return self._sets[name]

    def label(self, name: str) -> str:
        """Return the name by which a prompt set is recorded: its own, wherever its file lies."""
        return self(name).name

    def beside(self, name: str | None, file: Path | None) -> str | None:
        """Return the name under which a file that a claim asks for is known here.

        It is looked for beside the claim's own file, and in the folders above that one; then,
        as any other file, from the base.

        Parameters
        ----------
        name : str, optional
            What the claim states.
        file : Path, optional
            Where the claim is written.
        """
        if name is None or file is None or not name.endswith(".toml"):
            return name
        paths = (folder / name for folder in file.resolve().parents)
        beside_claim = next((place.resolve() for place in paths if place.is_file()), None)
        if beside_claim is None or self._placed.setdefault(name, beside_claim) == beside_claim:
            return name
        # Claims of two folders may mean two files by one name.
        return str(beside_claim)

    def add(self, name: str, prompts: PromptSet) -> None:
        """Make a prompt set known under a name."""
        self._sets[name] = prompts

    def counterexamples(self, claim: str) -> str | None:
        """Name the set of prompts that a suite tries on every model; ``None`` if there are none.

        Counterexamples that a search found on one model lie in the same files and are no part.
        """
        name = f"counterexamples-{claim}"
        if name in self._sets:
            return name
        known = known_prompts(folder / "counterexamples" for folder in self._folders)
        if claim not in known:
            return None
        try:
            raw = tomllib.loads(known[claim].read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            raw = {}
        if "counterexample" in raw and "family" not in raw:
            return None
        self._sets[name] = read_prompts(known[claim])
        return name


def prompt_set(prompts: Sequence[str | Sequence[int]], *, name: str = "given") -> PromptSet:
    """Return texts, or lists of token ids, as a prompt set; each is a family of its own."""
    items = []
    for place, prompt in enumerate(prompts):
        where = (f"{place}/0", str(place))
        if isinstance(prompt, str):
            items.append(Prompt(*where, text=prompt))
        else:
            items.append(Prompt(*where, input_ids=tuple(int(token) for token in prompt)))
    _refuse_duplicates(items, name)
    families: dict[str, dict[str, str]] = {item.family: {} for item in items}
    return PromptSet(name, tuple(items), families, content_hash(items))


def load_prompts(name: str, folders: Iterable[Path]) -> PromptSet:
    """Read a prompt set by name or from a file.

    Parameters
    ----------
    name : str
        Name of a set in one of `folders`, or a path that ends in ``.toml``; ``NAME:a,b`` keeps
        families ``a`` and ``b`` only.
    folders : iterable of Path
        Where named sets lie.

    Returns
    -------
    PromptSet

    Raises
    ------
    PromptError
        If the set is unknown or its file is malformed.
    """
    base, _, chosen = name.partition(":") if not Path(name).exists() else (name, "", "")
    if base.endswith(".toml"):
        path = Path(base)
        if not path.is_file():
            raise PromptError(f"no prompt file {base}: give a path that exists")
    else:
        known = known_prompts(folders)
        if base not in known:
            raise PromptError(
                f"unknown prompt set {base!r}: {near(base, known)}; or give a .toml file"
            )
        path = known[base]
    prompts = read_prompts(path)
    return prompts.select([f.strip() for f in chosen.split(",")]) if chosen else prompts


def known_prompts(folders: Iterable[Path]) -> dict[str, Path]:
    """Named prompt sets: file stem to file, the first folder wins."""
    known: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            known.setdefault(path.stem, path)
    return known


def read_prompts(path: Path) -> PromptSet:
    """Read one prompt-set file.

    Parameters
    ----------
    path : Path
        A TOML file with a ``name`` and ``[[family]]`` tables that hold ``prompts`` (text) or
        ``input_ids`` (lists of token ids), and optionally ``spans``, one table of named positions
        a prompt, and ``answers``, one a prompt. Texts of a family with ``marked = true`` name
        their spans in place: ``He sold {t0|3 boxes}.`` has the text "He sold 3 boxes."

    Returns
    -------
    PromptSet

    Raises
    ------
    PromptError
        One line naming the file, the family and what is wrong.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise PromptError(f"cannot read prompt file {path.name}: {one_line(problem)}") from None
    return parse_prompts(raw, origin=path.name, default_name=path.stem)


def parse_prompts(raw: Mapping[str, Any], *, origin: str, default_name: str) -> PromptSet:
    """Turn the content of a prompt-set file into a `PromptSet`, checking all of it."""
    tables = raw.get("family")
    if not isinstance(tables, list) or not tables:
        raise PromptError(f"{origin} has no [[family]] table: add one with a name and prompts")
    prompts: list[Prompt] = []
    families: dict[str, dict[str, str]] = {}
    for number, table in enumerate(tables):
        name = table.get("name") if isinstance(table, dict) else None
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise PromptError(
                f"{origin}: family {number + 1} needs a name without '/', got name={name!r}"
            )
        if name in families:
            raise PromptError(f"{origin}: family {name!r} appears twice: merge or rename one")
        families[name] = {
            key: str(value)
            for key, value in table.items()
            if isinstance(value, str | int | float) and key != "name"
        }
        prompts.extend(_family_prompts(table, name, origin))
    _refuse_duplicates(prompts, origin)
    return PromptSet(
        name=str(raw.get("name", default_name)),
        prompts=tuple(prompts),
        families=families,
        content_hash=content_hash(prompts),
        description=str(raw.get("description", raw.get("says", ""))),
    )


def _family_prompts(table: Mapping[str, Any], family: str, origin: str) -> list[Prompt]:
    texts, ids = table.get("prompts"), table.get("input_ids")
    if (texts is None) == (ids is None):
        raise PromptError(f"{origin}: family {family!r} needs either prompts or input_ids")
    items = texts if ids is None else ids
    if not isinstance(items, list) or not items:
        raise PromptError(f"{origin}: family {family!r} holds no prompt: add one or drop it")
    spans = table.get("spans", [{}] * len(items))
    if len(spans) != len(items):
        raise PromptError(
            f"{origin}: family {family!r} has {len(items)} prompts but {len(spans)} spans: "
            "give one table a prompt"
        )
    answers = table.get("answers", [None] * len(items))
    if not isinstance(answers, list) or len(answers) != len(items):
        raise PromptError(f"{origin}: family {family!r} needs one answer a prompt")
    made = []
    for index, (item, span, answer) in enumerate(zip(items, spans, answers, strict=True)):
        where = f"{origin}: prompt {index + 1} of family {family!r}"
        name = f"{family}/{index}"
        right = answer_of(answer, where)
        if ids is None:
            if not isinstance(item, str) or not item.strip():
                raise PromptError(f"{where} is empty: write it or drop it")
            text, marks = unmarked(item, where) if table.get("marked") else (item, {})
            named = positions_of(span, None, where)
            made.append(Prompt(name, family, text=text, spans=named, marks=marks, answer=right))
        else:
            good = isinstance(item, list) and item and all(type(i) is int and i >= 0 for i in item)
            if not good:
                raise PromptError(f"{where} needs token ids of 0 or more, got {item!r}")
            named = positions_of(span, len(item), where)
            made.append(Prompt(name, family, input_ids=tuple(item), spans=named, answer=right))
    return made


def _refuse_duplicates(prompts: Sequence[Prompt], origin: str) -> None:
    seen: dict[object, str] = {}
    for prompt in prompts:
        key: object = prompt.input_ids
        if prompt.text is not None:
            key = " ".join(unicodedata.normalize("NFC", prompt.text).split())
        if key in seen:
            raise PromptError(
                f"{origin}: prompts {seen[key]} and {prompt.id} are the same: a repeated prompt "
                "counts twice, drop one"
            )
        seen[key] = prompt.id
