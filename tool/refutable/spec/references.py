"""Published and recomputed numbers that claims compare with, kept in fixtures/references.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from refutable.errors import RefutableError
from refutable.system.paths import fixtures

if TYPE_CHECKING:
    from refutable.system.typing import Json


def reference(*path: str) -> Any:
    """Return a number, list or table of reference values.

    Parameters
    ----------
    *path
        Names from the outermost table inwards, e.g. ``"no_position", "loss", "published"``.

    Raises
    ------
    RefutableError
        When there is none of that name.
    """
    value: Json = _all()
    for depth, name in enumerate(path):
        if not isinstance(value, dict) or name not in value:
            where = ".".join(path[: depth + 1])
            raise RefutableError(f"no reference value {where!r} in fixtures/references.toml")
        value = value[name]
    return value


@cache
def _all() -> dict[str, Json]:
    return tomllib.loads((fixtures() / "references.toml").read_text(encoding="utf-8"))
