"""What a gate fails on, and by how much things may move: the user's, from pyproject or options."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refutable.errors import RefutableError, near
from refutable.gate.behaviour import MARGINS as BEHAVIOUR_MARGINS
from refutable.gate.profiles import MARGINS as PROFILE_MARGINS

BEHAVIOUR, INTERNALS, FILES = "behaviour", "internals", "files"
ANY_FILE = "any-file"
KINDS = (BEHAVIOUR, INTERNALS, FILES, ANY_FILE)
DEFAULT = (BEHAVIOUR, INTERNALS, FILES)
MARGINS: Mapping[str, float] = {**BEHAVIOUR_MARGINS, **PROFILE_MARGINS}


@dataclass(frozen=True, slots=True)
class Policy:
    """What fails, and the margins.

    ``behaviour``: the model says something else, beyond the margins. ``internals``: a claim or the
    depth profile moved beyond its margin. ``files``: what is suspect in weights, config or
    tokenizer. ``any-file``: any difference of the files at all. A model that is broken, and a claim
    that is lost, fail always.
    """

    fail_on: tuple[str, ...] = DEFAULT
    margins: Mapping[str, float] = field(default_factory=lambda: dict(MARGINS))

    def __contains__(self, kind: object) -> bool:
        return kind in self.fail_on


def read_policy(
    fail_on: str | None = None, margins: Iterable[str] = (), folder: Path | None = None
) -> Policy:
    """Read the policy: options win over ``[tool.refutable.gate]`` of ``pyproject.toml``.

    Parameters
    ----------
    fail_on : str, optional
        Kinds, with commas between them; empty for nothing but what is broken.
    margins : iterable of str
        ``name=value``, e.g. ``kl=0.02``.
    folder : Path, optional
        Where to look for ``pyproject.toml``, and in the folders above; the current one by default.

    Raises
    ------
    RefutableError
        If a kind, a margin or a value is not known.
    """
    stated = _stated(folder or Path.cwd())
    kinds = stated.get("fail_on", list(DEFAULT))
    if fail_on is not None:
        kinds = [word.strip() for word in fail_on.split(",") if word.strip()]
    allowed = dict(MARGINS)
    for name, value in stated.get("margins", {}).items():
        allowed[_known(name, MARGINS, "margin")] = _positive(name, value)
    for text in margins:
        name, _, value = text.partition("=")
        allowed[_known(name.strip(), MARGINS, "margin")] = _positive(name, value)
    return Policy(tuple(_known(kind, KINDS, "kind") for kind in kinds), allowed)


def _stated(folder: Path) -> dict[str, Any]:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as problem:
                raise RefutableError(f"cannot read {file}: {problem}") from None
            stated = table.get("tool", {}).get("refutable", {}).get("gate", {})
            return dict(stated)
    return {}


def _known(name: str, known: Iterable[str], what: str) -> str:
    if name not in known:
        raise RefutableError(f"unknown {what} {name!r} of the gate: {near(name, known)}")
    return name


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise RefutableError(f"margin {name} must be a number of 0 or more, got {value!r}")
    return number
