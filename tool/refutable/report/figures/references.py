"""Published and reported values that figures show beside what a run measured."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

from refutable.report.text import visible
from refutable.system.paths import fixtures


@dataclass(frozen=True, slots=True)
class Reference:
    """A mean gain that someone else reported for a model."""

    model: str
    value: float
    norm: str
    origin: str
    """``published`` by a paper or ``upstream``, measured by the study's author."""


@cache
def gain_references() -> tuple[Reference, ...]:
    """Return the reported mean gains of the last block; none where the file is not shipped."""
    path = fixtures() / "references.toml"
    if not path.is_file():
        return ()
    known = tomllib.loads(path.read_text("utf-8"))
    norms = known.get("norm_kinds", {})
    references = []
    for origin in ("published", "upstream"):
        for model, value in known.get("last_block_gain", {}).get(origin, {}).items():
            mean = value[0] if isinstance(value, list) else value
            references.append(Reference(model, float(mean), norms.get(model, "unknown"), origin))
    return tuple(references)


def short(model: object) -> str:
    """Return a model's name without its organisation, safe to print."""
    return visible(str(model).rsplit("/", 1)[-1], 32)
