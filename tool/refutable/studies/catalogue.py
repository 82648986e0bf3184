"""The claims that refutable brings, found without pytest."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from refutable.errors import ClaimError, near
from refutable.spec.claim import Claim, ClaimRegistry
from refutable.spec.claim_files import claims_in
from refutable.system.plugins import plugin_parts


def bundled_claims() -> ClaimRegistry:
    """Return the claims of every module of ``refutable.claims`` and of plugins' ``claims``."""
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
    # By name: the claims are leaves, beside the package in a checkout and inside it in a wheel.
    for name in claim_packages():
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.ispkg or not module.name.rpartition(".")[2].startswith("test_"):
                continue
            yield from claims_in(importlib.import_module(module.name))


def claim_packages() -> list[str]:
    """Return the names of the packages that hold claims: refutable's own, then plugins'."""
    return ["refutable.claims", *(module.__name__ for module in plugin_parts("claims"))]
