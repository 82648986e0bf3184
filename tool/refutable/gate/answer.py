"""One answer from everything that two runs hold: claims, behaviour, depth profiles and files."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from refutable.gate.behaviour import BehaviourReport
from refutable.gate.facts import Fact, spans
from refutable.gate.policy import ANY_FILE, BEHAVIOUR, FILES, INTERNALS, Policy
from refutable.gate.profiles import ProfileChange
from refutable.gate.records import FAILS, ClaimChange, GateReport, Status

BROKEN = (Status.INSTRUMENT, Status.LOST)
"""What fails whatever the policy says."""
REWRITTEN = 0.03
"""Relative change of a whole tensor that is too large to hide in what a model says."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What became of one model."""

    base: str
    candidate: str
    behaviour: BehaviourReport | None
    facts: tuple[Fact, ...]
    profiles: tuple[ProfileChange, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gate says of two runs."""

    models: tuple[ModelAnswer, ...]
    claims: GateReport | None
    policy: Policy
    strict: bool = False
    broken: Mapping[str, str] | None = None
    """Candidate's models that could not be measured, and why."""
    samples: tuple[ClaimChange, ...] = ()
    """Further quantities, from per-sample logs of other tools."""
    notes: tuple[str, ...] = ()

    @property
    def failing_facts(self) -> tuple[Fact, ...]:
        """Differences of the files that the policy does not let pass, most telling first."""
        failing = [
            fact
            for model in self.models
            for fact in model.facts
            if (fact.suspect and FILES in self.policy) or ANY_FILE in self.policy
        ]
        return tuple(sorted(failing, key=lambda fact: fact.rank))

    @property
    def behaviour_changed(self) -> bool:
        """Whether some model says something else, beyond the margins."""
        return any(
            change.status is Status.CHANGED
            for model in self.models
            if model.behaviour is not None
            for change in model.behaviour.changes
        )

    @property
    def profiles_changed(self) -> tuple[ProfileChange, ...]:
        """Depth profiles that moved beyond the margin."""
        return tuple(p for model in self.models for p in model.profiles if p.changed)

    @property
    def failing_claims(self) -> tuple[ClaimChange, ...]:
        """Claims that fail: broken ones always, others where the policy names internals."""
        lines = (*(self.claims.changes if self.claims else ()), *self.samples)
        return tuple(
            line
            for line in lines
            if line.status in BROKEN
            or (line.status in FAILS and INTERNALS in self.policy and not line.told_only)
        )

    @property
    def undecided(self) -> int:
        """Comparisons that decided nothing."""
        lines = [c.status for c in (self.claims.changes if self.claims else ())]
        lines += [c.status for c in self.samples]
        lines += [c.status for m in self.models if m.behaviour for c in m.behaviour.changes]
        return sum(status is Status.UNDECIDED for status in lines)

    @property
    def compared(self) -> int:
        """All comparisons."""
        behaviour = sum(len(m.behaviour.changes) for m in self.models if m.behaviour)
        return behaviour + len(self.claims.changes if self.claims else ()) + len(self.samples)

    @property
    def failed(self) -> bool:
        """Whether the gate does not let the candidate pass."""
        return bool(
            self.broken
            or self.failing_facts
            or (BEHAVIOUR in self.policy and self.behaviour_changed)
            or (INTERNALS in self.policy and self.profiles_changed)
            or self.failing_claims
            or (self.strict and self.undecided)
        )

    @property
    def exit_code(self) -> int:
        """0: the same within the margins. 1: changed, lost or broken."""
        return int(self.failed)


def cleared(facts: Iterable[Fact], behaviour: BehaviourReport | None) -> tuple[Fact, ...]:
    """Let pass what only writes the same function in another way.

    Heads or neurons that were permuted consistently, parts of a block that were multiplied by
    numbers whose product is 1, and whole tensors that were rewritten (a norm's gain folded into the
    matrices behind it, values and output projection turned by the same rotation) leave what the
    model says as it was; what it says shows whether they did.
    """
    remaining = list(facts)
    if behaviour is None:
        return tuple(remaining)
    moved = [f for f in remaining if f.permutes]
    many = len(moved) > 1 or any(f.tensors > 1 for f in moved)
    if many and behaviour.within_rounding(len({b for f in moved for b in f.blocks})):
        remaining = [f for f in remaining if not f.permutes] + [_consistent(moved, "permuted")]
    folded = [f for f in remaining if f.folds and behaviour.same_function]
    folded += [f for f in remaining if f.undoes and behaviour.within_rounding(len(f.blocks))]
    if folded:
        remaining = [f for f in remaining if f not in folded]
        remaining.append(_consistent(folded, "rewritten"))
    scaled: dict[tuple[int, ...], list[Fact]] = defaultdict(list)
    for fact in remaining:
        if fact.scale is not None and fact.blocks:
            scaled[fact.blocks].append(fact)
    for group in scaled.values() if behaviour.within_rounding(len(scaled)) else ():
        product = math.prod(fact.scale or 1.0 for fact in group)
        if len(group) > 1 and abs(product - 1.0) < 1e-3:
            remaining = [f for f in remaining if f not in group] + [_consistent(group, "rescaled")]
    return tuple(_rewritten(remaining, behaviour))


def _rewritten(facts: list[Fact], behaviour: BehaviourReport) -> list[Fact]:
    """Let whole tensors pass that changed by far more than what the model says can hide.

    The roundings of several blocks are independent, and a divergence grows with their variance.
    Heads can be turned one by one too, in the two matrices that undo each other.
    """
    groups: dict[tuple[int, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.whole is not None and fact.suspect and fact.blocks:
            groups[fact.blocks].append(fact)
    large = [
        group
        for group in groups.values()
        if max(f.whole or 0.0 for f in group) >= REWRITTEN
        and (len(group) > 1 or not group[0].partly)
    ]
    blocks = {block for group in large for fact in group for block in fact.blocks}
    if not behaviour.within_rounding(len(blocks)):
        return facts
    remaining = list(facts)
    for group in large:
        remaining = [f for f in remaining if f not in group] + [_consistent(group, "rewritten")]
    return remaining


def _consistent(facts: list[Fact], word: str) -> Fact:
    blocks = tuple(sorted({b for f in facts for b in f.blocks}))
    names = f" of block{'s' if len(blocks) > 1 else ''} {spans(list(blocks))}" if blocks else ""
    count = sum(f.tensors for f in facts)
    tensors = f"{count} tensor{'s' if count > 1 else ''}"
    text = f"{tensors}{names} {word} consistently: the function is the same"
    return replace(
        facts[0],
        text=text,
        suspect=False,
        rank=65,
        blocks=blocks,
        permutes=False,
        folds=False,
        undoes=False,
    )
