"""What a model says, release against release: paired by prompt, families as units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refutable.evidence.release import Behaviour, Release
from refutable.gate.divergence import (
    divergences,
    loss_by_prompt,
    pair_tokens,
    top_differs,
)
from refutable.gate.records import Status
from refutable.stats import core
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.stats.multiplicity import holm
from refutable.stats.paired import PairedChange, paired_change

Floats = NDArray[np.float64]

MARGINS: Mapping[str, float] = {"kl": 0.02, "top": 0.1, "loss": 0.02}
"""Largest differences that pass: nats, share of tokens, nats for each token (docs/gate.md says how
they were set)."""
WORDS: Mapping[str, str] = {
    "kl": "next-token KL",
    "top": "top token differs",
    "loss": "loss on the prompts' own tokens",
}
UNITS: Mapping[str, str] = {"kl": "nats", "top": "of tokens", "loss": "nats a token"}
NOISE = 1e-6
"""Mean divergence, in nats, below which two models compute the same but for rounding."""
ROUNDING = 5e-9
"""The same for another order of the same sums in float32: 1e-12 on small models, 1e-9 on
SmolLM2-135M. A key bias times 1.02 moves more (1.3e-8)."""
AS_ENCODED = "as encoded"


@dataclass(frozen=True, slots=True)
class BehaviourChange:
    """One quantity in one arm."""

    quantity: str
    """``kl``, ``top`` or ``loss``."""
    arm: str
    status: Status
    change: PairedChange
    largest: float
    """The largest value of a prompt."""
    prompt: str
    """That prompt."""
    before: float | None = None
    after: float | None = None
    p_adjusted: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class BehaviourReport:
    """What changed in what the model says."""

    changes: tuple[BehaviourChange, ...]
    notes: tuple[str, ...] = ()

    @property
    def same_function(self) -> bool:
        """Whether both compute the same distributions but for rounding."""
        return self._within(NOISE)

    def within_rounding(self, blocks: int) -> bool:
        """Whether the distributions differ by no more than float32 and their storage round.

        Parameters
        ----------
        blocks : int
            In how many blocks sums are made in another order.
        """
        return self._within(ROUNDING * max(1, blocks))

    def _within(self, most: float) -> bool:
        divergences = [c for c in self.changes if c.quantity == "kl"]
        return bool(divergences) and all(
            c.change.value <= most and c.largest <= 1e2 * most for c in divergences
        )

    @property
    def leading(self) -> BehaviourChange | None:
        """The quantity to be told first: the one that changed most, else the largest divergence."""
        changed = [c for c in self.changes if c.status is Status.CHANGED]
        pool = changed or list(self.changes)
        order = {"kl": 0, "loss": 1, "top": 2}
        return min(pool, key=lambda c: (order[c.quantity], -abs(c.change.value)), default=None)


def compare_behaviour(
    base: Release, candidate: Release, margins: Mapping[str, float] = MARGINS
) -> BehaviourReport:
    """Compare what two releases say after every token of the same prompts.

    Parameters
    ----------
    base, candidate : Release
        Of the same prompt set.
    margins : mapping of str to float
        Largest differences that pass, by quantity.

    Returns
    -------
    BehaviourReport
        CHANGED: the paired test of ``abs(difference) > margin`` over families survives Holm over
        the quantities and arms. SAME: the guard lies inside the margin, bent where the differences
        are skew (`refutable.stats.paired`). UNDECIDED otherwise, or below five families.
    """
    if base.prompts_hash != candidate.prompts_hash:
        note = (
            f"behaviour was recorded on different prompts ({base.prompts}, {candidate.prompts}): "
            "not compared"
        )
        return BehaviourReport((), (note,))
    compared: list[BehaviourChange] = []
    notes: list[str] = []
    for label, before, after in _arms(base, candidate):
        changes, said = _of_arm(label, before, after, margins)
        compared += changes
        notes += said
    return BehaviourReport(tuple(_corrected(compared)), tuple(notes))


def _arms(base: Release, candidate: Release) -> Iterator[tuple[str, Behaviour, Behaviour]]:
    for arm in base.behaviour:
        if arm in candidate.behaviour:
            yield arm, base.behaviour[arm], candidate.behaviour[arm]
    base_arm, candidate_arm = (_default_arm(one) for one in (base, candidate))
    if (
        base_arm != candidate_arm
        and base_arm in base.behaviour
        and candidate_arm in candidate.behaviour
    ):
        yield AS_ENCODED, base.behaviour[base_arm], candidate.behaviour[candidate_arm]


def _default_arm(release: Release) -> str:
    """Arm that a text is in when the tokenizer encodes it as it does by default."""
    default = release.facts.get("tokenizer", {}).get("default", {})
    return "bos" if default.get("bos") else "no-bos"


def _of_arm(
    arm: str, base: Behaviour, candidate: Behaviour, margins: Mapping[str, float]
) -> tuple[list[BehaviourChange], list[str]]:
    pairing = pair_tokens(base, candidate)
    notes = []
    if pairing.split and arm != AS_ENCODED:
        notes.append(
            f"{pairing.split} of {pairing.shared} prompts are cut into other tokens ({arm}): their "
            "distributions are paired where tokens end at the same character"
        )
    if not pairing.base.size:
        return [], [*notes, f"no token of the two runs can be paired ({arm})"]
    measures = []
    for name, values in (
        ("kl", divergences(base, candidate, pairing)),
        ("top", top_differs(base, candidate, pairing)),
    ):
        prompts, means = _by_prompt(values, pairing.prompt)
        measures.append(_tested(name, arm, base, prompts, values=means, margin=margins[name]))
    difference, prompts = loss_by_prompt(base, candidate)
    if difference.size:
        one = _tested("loss", arm, base, prompts, values=difference, margin=margins["loss"])
        levels = [_mean_loss(side) for side in (base, candidate)]
        measures.append(replace(one, before=levels[0], after=levels[1]))
    return measures, notes


def _mean_loss(one: Behaviour) -> float:
    known = np.isfinite(one.loss)
    return float(one.loss[known].mean()) if known.any() else float("nan")


def _by_prompt(values: Floats, prompt: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    names, place = np.unique(prompt, return_inverse=True)
    return names, np.bincount(place, values) / np.bincount(place)


def _tested(
    name: str,
    arm: str,
    base: Behaviour,
    prompts: NDArray[np.intp],
    *,
    values: Floats,
    margin: float,
) -> BehaviourChange:
    families = [base.families[i] for i in prompts]
    means, _ = core.group_means(values, families)
    change = paired_change(means, margin=margin)
    worst = int(np.abs(values).argmax())
    status = Status.SAME if change.same and change.families >= FEWEST_FAMILIES else Status.UNDECIDED
    return BehaviourChange(
        name, arm, status, change, float(values[worst]), base.prompts[int(prompts[worst])]
    )


def _corrected(tested: Sequence[BehaviourChange]) -> list[BehaviourChange]:
    """Correct by Holm over quantities and arms; differences without any spread are facts."""
    usable = [c.change.p if c.change.families >= FEWEST_FAMILIES else None for c in tested]
    adjusted, survives = holm(usable)
    done = []
    for one, p, survived in zip(tested, adjusted, survives, strict=True):
        fact = one.change.p is None and one.change.changed
        status = Status.CHANGED if survived or fact else one.status
        done.append(replace(one, p_adjusted=p, status=status))
    return done
