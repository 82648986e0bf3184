"""What claims ask of models: which observables, on which prompts, with which null controls."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from refutable.models import registry
from refutable.models.spec import ModelSource
from refutable.observables.registry import REGISTRY
from refutable.records import ModelFacts
from refutable.spec.cell import Cell
from refutable.spec.claim import ARMS, Claim
from refutable.spec.prompts import PromptLibrary

Members = Mapping[int | None, str]
"""Models of one group by training seed; one that is compared by its own name has none."""


@dataclass(frozen=True, slots=True, order=True)
class ControlCopy:
    """One copy of a null control."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """``untrained-3``: the role of its observations."""
        return f"{self.kind}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Need:
    """What one claim asks of one model."""

    claim: Claim
    model: str
    prompts: str
    arm: str
    controlled: bool = True
    """Whether the null controls are measured too; of a group of seeds one member has them."""

    @property
    def observables(self) -> frozenset[str]:
        """Names of the stored observables that the claim and its replication rest on."""
        return REGISTRY.recorded({*self._asked, *self.claim.also_record})

    @property
    def of_controls(self) -> frozenset[str]:
        """The same without what only illustrates them: it is not drawn of null controls."""
        return REGISTRY.recorded(self._asked, drawn=False)

    @property
    def _asked(self) -> set[str]:
        names = set(self.claim.observables)
        if self.claim.replication is not None:
            names |= set(inspect.signature(self.claim.replication.body).parameters)
        if self.claim.control is not None:
            names |= set(self.claim.control.observables)
        return names

    @property
    def controls(self) -> tuple[ControlCopy, ...]:
        """The null controls to measure; a placebo is read off the model's own observables."""
        spec = self.claim.control if self.controlled else None
        if spec is None or spec.body is not None:
            return ()
        return copies_of(self.claim)


def copies_of(claim: Claim) -> tuple[ControlCopy, ...]:
    """Return the copies of a claim's null control."""
    spec = claim.control
    return tuple(ControlCopy(spec.kind, seed) for seed in range(spec.seeds)) if spec else ()


BEHAVIOUR = (
    "n_tokens",
    "next_token_ids",
    "next_token_log_probabilities",
    "own_token_loss",
    "own_tokens",
)
"""Observables that tell what a model says after every token."""
TENSORS = "tensors_described"


@dataclass(slots=True)
class Plan:
    """The union of what is asked of one model: (prompts, arm, control) to observables."""

    wanted: dict[tuple[str, str, ControlCopy | None], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def add(self, need: Need) -> None:
        """Take up one claim's needs; what only illustrates is not measured on controls."""
        for control in (None, *need.controls):
            names = need.observables if control is None else need.of_controls
            self.wanted[need.prompts, need.arm, control] |= names

    def add_release(self, facts: ModelFacts, prompts: str) -> None:
        """Take up what a release is known by, with and without BOS where the model has one."""
        for arm in ARMS if facts.bos is not None else ARMS[:1]:
            self.wanted[prompts, arm, None] |= {*BEHAVIOUR, TENSORS}


def not_applicable(need: Need, facts: ModelFacts) -> str | None:
    """Return why a claim does not speak about a model in an arm, or ``None`` if it does."""
    if need.arm == "bos" and facts.bos is None:
        return f"{facts.id} has no BOS token, so it has no BOS arm"
    return need.claim.models.reason(facts)


def members_of(claim: Claim, named: Mapping[str, str] | None) -> dict[str, Members]:
    """Return the models of each group that a claim compares, by seed.

    Parameters
    ----------
    claim : Claim
        A claim about several models.
    named : mapping or None
        The models of the run, where any were named; otherwise those that refutable ships.
    """
    specs = [
        spec
        for spec in registry.all_specs()
        if (spec.id in named if named is not None else spec.source is ModelSource.TWIN)
    ]
    members: dict[str, Members] = {}
    for group in claim.predicts.names:
        members[group] = {
            spec.seed or 0: spec.id
            for spec in specs
            if spec.group == group and (spec.seed or 0) not in claim.predicts.left_out
        }
        if group in (named or ()) or group in (spec.id for spec in specs):
            members[group] = {None: group}
    return members


def member_need(claim: Claim, cell: Cell, model: str, members: Members) -> Need:
    """What a claim about groups asks of one member; the group's first has the null controls.

    Untrained copies follow from the config, which the members of a group share.
    """
    first = next(iter(members.values()))
    return Need(claim, model, cell.prompts, cell.arm, controlled=model == first)


def needs_of(
    claim: Claim, cell: Cell, named: Mapping[str, str] | None, prompts: PromptLibrary
) -> list[Need]:
    """What a claim asks of each model of a cell, with the stored counterexamples to replay."""
    if claim.predicts.grouped:
        return [
            member_need(claim, cell, model, members)
            for members in members_of(claim, named).values()
            for model in members.values()
        ]
    needs = [Need(claim, model, cell.prompts, cell.arm) for model in cell.models]
    if (replayed := counterexample_set(claim, prompts)) is not None:
        needs += [Need(claim, model, replayed, cell.arm) for model in cell.models]
    return needs


def counterexample_set(claim: Claim, prompts: PromptLibrary) -> str | None:
    """Name the prompt set of a universal claim's stored counterexamples, if there is one."""
    return prompts.counterexamples(claim.id) if claim.predicts.kind == "every" else None
