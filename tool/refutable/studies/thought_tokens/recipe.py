"""How the thought twins are made: sizes, curriculum and optimiser; everything but the seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.errors import RefutableError
from refutable.studies.thought_tokens.task import CONTEXT, THOUGHTS, VOCABULARY

if TYPE_CHECKING:
    from transformers import GPT2Config

SEEDS = tuple(range(8))
KINDS = ("thoughts", "direct")
"""``thoughts``: what is no longer written becomes a continuous thought. ``direct``: its twin, on
the same data and curriculum, in which nothing takes its place."""


@dataclass(frozen=True, slots=True)
class Size:
    """A shape; blocks, heads and the task's depth are the same in all of them."""

    name: str
    width: int
    blocks: int = 3
    heads: int = 4


SIZES = {size.name: size for size in (Size("small", 64), Size("large", 144))}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A curriculum from written steps to thoughts, in the manner of Coconut.

    Stage 0 writes all six values out; stage j no longer writes the first j of them: a thought
    takes the place of each, or nothing does. The loss is the mean cross-entropy of the values
    still written and of the answer, never of a thought.
    """

    steps: int = 4000
    batch: int = 256
    written_steps: int = 200
    """Steps in stage 0."""
    stage_steps: int = 250
    """Steps before the next value is no longer written."""
    earlier_share: float = 0.2
    """Share of steps taken at a random earlier (or the same) stage."""
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    warm_up: int = 100
    decay_share: float = 0.4
    """Share of the steps, at the end, over which the rate falls linearly to a twentieth."""
    embedding_std: float = 0.3
    matrix_gain: float = 1.0
    """Matrices are drawn with standard deviation gain / sqrt(width)."""

    held_out: int = 2000
    """Held-out problems behind the accuracies of a run's record."""

    def factor(self, step: int) -> float:
        """Return the factor on the learning rate at a step (step 0 is the first)."""
        falling = (self.steps - step) / (self.decay_share * self.steps)
        return min(1.0, (step + 1) / self.warm_up) * max(0.05, min(1.0, falling))

    def stage_at(self, step: int) -> int:
        """Return the stage of a step, the same for every seed, size and kind.

        Which steps go back is drawn from a hash of the step's number, so that a run that goes
        on needs no generator's state.
        """
        late = step - self.written_steps
        top = 0 if late < 0 else min(THOUGHTS, 1 + late // self.stage_steps)
        digest = hashlib.sha256(f"thoughts {step}".encode()).digest()
        drawn = int.from_bytes(digest[:4], "big") / 2**32
        if drawn >= self.earlier_share:
            return top
        return int(drawn / self.earlier_share * (top + 1))


def size_named(name: str) -> Size:
    """Return a size by name.

    Raises
    ------
    RefutableError
        When there is no such size; the message lists those there are.
    """
    if name not in SIZES:
        raise RefutableError(f"no size {name!r} of thought twins: choose {' or '.join(SIZES)}")
    return SIZES[name]


def model_config(size: Size) -> GPT2Config:
    """Return the configuration: transformers' own GPT-2 with tied embeddings and no dropout."""
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=size.width,
        n_layer=size.blocks,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        # Prompts bring their first token along; no arm of a run puts one there or takes it away.
        bos_token_id=None,
        eos_token_id=33,
        use_cache=False,
    )
