"""What stands beside a claim: null controls, and the study's own procedure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from refutable.errors import ClaimError
from refutable.records import Region
from refutable.system.renamed import renamed


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """A null control: where the same body should say nothing."""

    kind: str
    seeds: int
    body: Callable[..., object] | None = None
    """Takes the place of the claim's body, on the same model's observables: of a placebo, or of
    copies that lie along the dim ``copy`` of one of them."""
    what: str = ""
    """What that body does."""

    def __post_init__(self) -> None:
        if self.kind not in ("untrained", "shuffled", "placebo"):
            raise ClaimError(
                f"expected kind 'untrained', 'shuffled' or 'placebo', got kind={self.kind!r}"
            )
        if self.kind == "placebo" and self.body is None:
            raise ClaimError("a placebo has a body: use placebo(body, statement=)")
        if self.kind == "shuffled" and self.body is not None:
            raise ClaimError("shuffled prompts are read with the claim's own body")
        if self.seeds < 1:
            raise ClaimError(f"expected seeds of 1 or more, got seeds={self.seeds}")

    @property
    def statement(self) -> str:
        """One phrase for reports."""
        if self.body is not None:
            return self.what
        what = {
            "untrained": "untrained models of the same config",
            "shuffled": "the same prompts with their tokens shuffled",
        }[self.kind]
        return f"{self.seeds} seeds of {what}"

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the observables that its own body takes."""
        return tuple(inspect.signature(self.body).parameters) if self.body is not None else ()


def untrained(*, seeds: int = 19) -> ControlSpec:
    """The same body on freshly initialised models of the same config."""
    return ControlSpec("untrained", seeds)


@renamed(says="statement")
def untrained_in(body: Callable[..., object], *, statement: str, seeds: int = 19) -> ControlSpec:
    """Untrained copies of which an observable holds the values, along its dim ``copy``.

    Parameters
    ----------
    body : callable
        A function of observables that gives a value for each copy.
    statement : str
        What the copies are, in one phrase.
    seeds : int
        Number of copies.
    """
    check_text(statement=statement)
    return ControlSpec("untrained", seeds, body, statement)


def shuffled(*, seeds: int = 19) -> ControlSpec:
    """The same body on the same prompts with the order of their tokens shuffled."""
    return ControlSpec("shuffled", seeds)


@renamed(says="statement")
def placebo(body: Callable[..., Any], *, statement: str) -> ControlSpec:
    """Another body on the same model's observables, where there is nothing to find.

    Parameters
    ----------
    body : callable
        A function of observables that gives values in the form of the claim's own body, of a
        comparison in which nothing differs, such as the times of two equal models; along a dim
        ``copy`` where it was drawn several times.
    statement : str
        What it does, in one phrase.
    """
    check_text(statement=statement)
    return ControlSpec("placebo", 1, body, statement)


@dataclass(frozen=True, slots=True)
class ReplicationSpec:
    """A study's own procedure, kept beside the sound one for comparison."""

    statement: str
    body: Callable[..., Any]
    region: Region
    statistic: str = "prompts as independent"
    """``prompts as independent`` (one-sample t) or ``pooled correlation``."""
    published: Mapping[str, float] = field(default_factory=dict)


@renamed(says="statement")
def replication(
    body: Callable[..., Any],
    *,
    statement: str,
    below: float | None = None,
    above: float | None = None,
    statistic: str = "prompts as independent",
    published: Mapping[str, float] | None = None,
) -> ReplicationSpec:
    """Keep a study's own procedure beside the sound one.

    Parameters
    ----------
    body : callable
        A function of observables, one value per prompt (or a pair of them for a correlation).
    statement : str
        The procedure in one sentence.
    below, above : float, optional
        The region the study predicted for the statistic.
    statistic : {"prompts as independent", "pooled correlation"}
        How the study reduced the values.
    published : mapping of str to float, optional
        Published numbers by model id.
    """
    return ReplicationSpec(statement, body, Region(above, below), statistic, dict(published or {}))


def check_text(**fields: str) -> None:
    """Refuse texts that are empty or none.

    Raises
    ------
    ClaimError
        Naming the field.
    """
    for name, value in fields.items():
        if not isinstance(value, str) or not value.strip():
            raise ClaimError(f"expected {name} to be a non-empty string, got {name}={value!r}")
