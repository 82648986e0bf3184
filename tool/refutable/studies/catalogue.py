"""The claims that refutable brings, found without pytest."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from refutable.errors import ClaimError, near
from refutable.spec.claim import Claim, ClaimRegistry


def bundled_claims() -> ClaimRegistry:
    """Import every module of ``refutable.claims`` and return the claims found there."""
    registry = ClaimRegistry()
    for claim in _claims():
        registry.add(claim)
    return registry


def find_claim(claim_id: str) -> Claim:
    """Return one bundled claim.

    Raises
    ------
    ClaimError
        If there is none of that id; near matches are listed.
    """
    known = {claim.id: claim for claim in bundled_claims()}
    if claim_id not in known:
        raise ClaimError(f"unknown claim {claim_id!r}: {near(claim_id, known)}")
    return known[claim_id]


def _claims() -> Iterator[Claim]:
    import refutable.claims  # type: ignore[import-not-found]

    prefix = f"{refutable.claims.__name__}."
    for module in pkgutil.walk_packages(refutable.claims.__path__, prefix):
        if module.ispkg or not module.name.rpartition(".")[2].startswith("test_"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            found = getattr(value, "__claim__", None)
            if isinstance(found, Claim):
                yield found
