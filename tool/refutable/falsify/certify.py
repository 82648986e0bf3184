"""A fresh sample of fixed size: what a search, whose candidates depend on each other, cannot bound.

The generator is named and frozen: another one gets another name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refutable.errors import RefutableError
from refutable.falsify.objective import Objective, Scored
from refutable.falsify.vocabulary import Ids, Vocabulary

GENERATOR = "uniform-tokens/1"
"""Lengths uniform over 2 to 16 tokens, tokens independent and uniform over those that stand for
text, BOS in front where the arm has one; NumPy's PCG64."""
_SHORTEST, _LONGEST = 2, 16
_BATCH = 256
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """What a fixed sample of prompts showed."""

    draws: int
    """Prompts for which the body gave a value; fixed beforehand."""
    violations: tuple[Scored, ...]
    generator: str = GENERATOR


def draw(vocabulary: Vocabulary, rng: np.random.Generator) -> Ids:
    """Draw one prompt."""
    size = int(rng.integers(_SHORTEST, _LONGEST + 1))
    indices = rng.integers(len(vocabulary), size=size)
    return tuple(vocabulary.ordered[int(i)] for i in indices)


def sample(
    objective: Objective, vocabulary: Vocabulary, draws: int, *, bound: float, seed: int
) -> Sample:
    """Judge `draws` independent prompts.

    Parameters
    ----------
    objective : Objective
        The claim on the model.
    vocabulary : Vocabulary
        Its tokens.
    draws : int
        How many; prompts that lie outside of the claim's domain are drawn anew.
    bound : float
        A margin above this is a violation.
    seed : int
        Of the generator.

    Raises
    ------
    RefutableError
        If hardly any prompt lies in the claim's domain.
    """
    rng = np.random.default_rng(seed)
    judged: list[Scored] = []
    for _ in range(_TRIES * (1 + draws // _BATCH)):
        batch = [draw(vocabulary, rng) for _ in range(_BATCH)]
        judged += [one for one in objective(batch) if np.isfinite(one.margin)]
        if len(judged) >= draws:
            break
    else:
        raise RefutableError(
            f"{len(judged)} of {draws} prompts drawn by {GENERATOR} lie in the domain of "
            f"{objective.claim.id}: it cannot be certified with them"
        )
    kept = judged[:draws]
    return Sample(draws, tuple(one for one in kept if one.margin > bound))
