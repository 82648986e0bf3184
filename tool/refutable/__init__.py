"""Research claims about transformer internals as executable pytest tests.

The public names below are all that a claim needs beside numpy and xarray.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Bound here and not on first use: importing the module `refutable.claim` later would otherwise
# put the module where the decorator of the same name belongs.
from refutable.spec.claim import Source, claim, normalized_by, replication, untrained

if TYPE_CHECKING:
    from refutable.api.observe import observe
    from refutable.api.verify import evaluate, verify
    from refutable.observables.registry import observable
    from refutable.predictions import (
        contrast,
        correlation,
        equals,
        every,
        mean,
        ordered,
        share,
        trend,
    )

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022  (in reading order: the form first, then the vocabulary)
    "claim",
    "Source",
    "normalized_by",
    "observable",
    "untrained",
    "replication",
    "mean",
    "every",
    "share",
    "correlation",
    "trend",
    "contrast",
    "ordered",
    "equals",
    "observe",
    "evaluate",
    "verify",
]

_HOME = {
    "observable": "refutable.observables.registry",
    **dict.fromkeys(
        ("mean", "every", "share", "correlation", "trend", "contrast", "ordered", "equals"),
        "refutable.predictions",
    ),
    "observe": "refutable.api.observe",
    "evaluate": "refutable.api.verify",
    "verify": "refutable.api.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays cheap."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'refutable' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is public, whether or not it was used yet: a notebook completes from here."""
    return sorted([*__all__, "__version__", "integrations", "strategies"])


def _find_checkout() -> None:
    # In an editable checkout the claims and fixtures lie at the top of the repository; a wheel
    # carries them inside the package. This makes `refutable.claims` the same name in both.
    package = Path(__file__).resolve().parent
    root = package.parents[1]
    inside = (package / "claims").is_dir()
    if not inside and (root / "claims").is_dir() and (root / "fixtures").is_dir():
        __path__.append(str(root))


_find_checkout()
