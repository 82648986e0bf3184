"""The claims that a Python file holds, whatever package or suite it belongs to."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from refutable.errors import ClaimError, told
from refutable.spec.claim import Claim


def claims_in(module: ModuleType) -> Iterator[Claim]:
    """Yield the claims among a module's names."""
    for value in vars(module).values():
        decorated = getattr(value, "__claim__", None)
        if isinstance(decorated, Claim):
            yield decorated


def file_of(claim: Claim) -> Path | None:
    """Return the file that a claim is written in; ``None`` for one typed into a session."""
    source = inspect.getsourcefile(claim.body)
    return Path(source) if source and Path(source).is_file() else None


def place_of(claim: Claim, line: int | None = None) -> str:
    """Return ``FILE:LINE`` of a claim, relative to the current folder where it lies below it.

    Parameters
    ----------
    claim : Claim
        The claim.
    line : int, optional
        Of its file; by default the one where its function begins.
    """
    code = claim.body.__code__
    path = Path(code.co_filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{line or code.co_firstlineno}"


def claims_of_file(path: Path) -> dict[str, Claim]:
    """Import a file and return its claims by id.

    Raises
    ------
    ClaimError
        If it cannot be imported.
    """
    name = f"refutable_claims_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ClaimError(f"{path} is no Python file: name one with claims in it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        del sys.modules[name]
        raise ClaimError(f"{path} cannot be imported: {told(problem)}") from None
    return {claim.id: claim for claim in claims_in(module)}
