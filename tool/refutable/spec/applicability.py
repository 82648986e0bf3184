"""Which models a claim speaks about; `refutable.claim` gives these names to claims."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass

from refutable.errors import ClaimError
from refutable.records import ModelFacts


@dataclass(frozen=True, slots=True)
class Applicability:
    """Which models a claim speaks about: `reason` returns why not, or ``None``."""

    statement: str
    reason: Callable[[ModelFacts], str | None]

    def __and__(self, other: Applicability) -> Applicability:
        """Both must hold; the first reason against is given."""
        return Applicability(
            f"{self.statement}, {other.statement}",
            lambda facts: self.reason(facts) or other.reason(facts),
        )


def any_model() -> Applicability:
    """Every model that has at least one block."""
    return Applicability("any decoder", lambda facts: None)


def normalized_by(kind: str) -> Applicability:
    """Models whose normalization modules are all of one kind.

    Parameters
    ----------
    kind : {"LayerNorm", "RMSNorm", "none"}
        The kind as read from the modules, not from a name or a config.
    """
    known = ("LayerNorm", "RMSNorm", "none")
    if kind not in known:
        raise ClaimError(f"expected kind to be one of {known}, got kind={kind!r}")
    return Applicability(
        f"models normalized by {kind}",
        lambda facts: (
            None
            if facts.norm_kind == kind
            else f"the claim is about {kind}, {facts.id} is normalized by {facts.norm_kind}"
        ),
    )


def positioned_by(kind: str) -> Applicability:
    """Models whose positions are of one kind.

    Parameters
    ----------
    kind : {"learned", "rotary", "alibi", "sinusoidal", "none"}
        As found from the modules.
    """
    known = ("learned", "rotary", "alibi", "sinusoidal", "none")
    if kind not in known:
        raise ClaimError(f"expected kind to be one of {known}, got kind={kind!r}")
    return Applicability(
        f"models with {kind} positions",
        lambda facts: (
            None
            if facts.positions == kind
            else f"the claim is about {kind} positions, those of {facts.id} are {facts.positions}"
        ),
    )


def at_least_heads(n: int) -> Applicability:
    """Models with `n` attention heads or more."""
    return Applicability(
        f"models of {n} heads or more",
        lambda facts: (
            None if facts.heads >= n else f"needs {n} heads, {facts.id} has {facts.heads}"
        ),
    )


def named(*patterns: str) -> Applicability:
    """Models whose id matches one of the shell patterns."""
    return Applicability(
        f"models named {', '.join(patterns)}",
        lambda facts: (
            None
            if any(fnmatch.fnmatch(facts.id, p) for p in patterns)
            else f"the claim is about {', '.join(patterns)}, not about {facts.id}"
        ),
    )


def at_least_blocks(n: int) -> Applicability:
    """Models with `n` blocks or more."""
    return Applicability(
        f"models of {n} blocks or more",
        lambda facts: (
            None if facts.blocks >= n else f"needs {n} blocks, {facts.id} has {facts.blocks}"
        ),
    )


def reads_text() -> Applicability:
    """Models with a tokenizer, which can be given prose."""
    return Applicability(
        "models with a tokenizer",
        lambda facts: None if facts.tokenizer else f"{facts.id} has no tokenizer",
    )


def not_tagged(tag: str) -> Applicability:
    """Models whose entry in the registry does not have a tag."""
    return Applicability(
        f"models other than those tagged {tag}",
        lambda facts: f"{facts.id} is tagged {tag}" if tag in facts.tags else None,
    )
