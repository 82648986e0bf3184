"""Which twins there are and how they are trained: every number of it in one record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.errors import RefutableError, near

if TYPE_CHECKING:
    from refutable.models.twin_model import TwinConfig


@dataclass(frozen=True, slots=True)
class Variant:
    """What one twin differs in."""

    name: str
    norm_kind: str
    """Kind of all its norms, the final one included: "layernorm" or "rmsnorm"."""
    norm_place: str
    """Where its blocks have norms: "both", "attention", "ffn" or "none"."""
    positions: str = "learned"
    """"learned", or "none" for a table of zeros that is never trained."""


VARIANTS = (
    Variant("layernorm-both", "layernorm", "both"),
    Variant("layernorm-attention", "layernorm", "attention"),
    Variant("layernorm-ffn", "layernorm", "ffn"),
    Variant("rmsnorm-both", "rmsnorm", "both"),
    Variant("rmsnorm-attention", "rmsnorm", "attention"),
    Variant("rmsnorm-ffn", "rmsnorm", "ffn"),
    # The final norm of `none` is a LayerNorm, so that it differs from layernorm-both in the
    # blocks alone.
    Variant("none", "layernorm", "none"),
    Variant("layernorm-both-no-positions", "layernorm", "both", "none"),
)

EIGHT_SEEDS = ("layernorm-both", "rmsnorm-both", "none")
"""Variants of the contrasts that matter most; the others have five training seeds."""


@dataclass(frozen=True, slots=True)
class TwinRecipe:
    """Size of the twins and how they are trained."""

    blocks: int = 6
    width: int = 72
    heads: int = 4
    vocabulary: int = 1024
    context: int = 128
    init_std: float = 0.08
    """Of the initial matrices and embeddings; GPT-2's 0.02 suits a width ten times as large."""
    steps: int = 600
    batch: int = 8
    """Rows a step; each row gives ``context`` predictions."""
    learning_rate: float = 2e-3
    """Peak; see docs/twins.md for the rule that chose it."""
    warmup: int = 30
    """Steps of linear warm-up."""
    final_rate: float = 0.1
    """Share of the peak that the cosine ends at."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    """On matrices; biases and norm gains have none."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    evaluate_every: int = 50
    checkpoint_every: int = 100
    log_every: int = 10
    """Steps over which gradient and weight norms are averaged in the log."""
    evaluation_rows: int = 64
    """Held-out rows at each evaluation."""
    final_rows: int = 512
    """Held-out rows of the final loss."""

    @property
    def tokens(self) -> int:
        """Number of predictions trained on."""
        return self.steps * self.batch * self.context


def variant_named(name: str) -> Variant:
    """Return a variant.

    Raises
    ------
    RefutableError
        When there is none of that name.
    """
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    known = [v.name for v in VARIANTS]
    raise RefutableError(f"no twin named {name!r}: {near(name, known)}")


def seeds_of(variant: str) -> tuple[int, ...]:
    """Return the training seeds of a variant in the study."""
    return tuple(range(8 if variant in EIGHT_SEEDS else 5))


def runs() -> Iterator[tuple[str, int]]:
    """Yield (variant, seed) of the whole study: seed by seed over the variants."""
    for seed in range(8):
        for variant in VARIANTS:
            if seed in seeds_of(variant.name):
                yield variant.name, seed


def config_of(variant: Variant, recipe: TwinRecipe) -> TwinConfig:
    """Return the transformers config of a variant."""
    from refutable.models.twin_model import TwinConfig

    return TwinConfig(
        vocab_size=recipe.vocabulary,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.blocks,
        n_head=recipe.heads,
        initializer_range=recipe.init_std,
        norm_kind=variant.norm_kind,
        norm_place=variant.norm_place,
        positions=variant.positions,
        # The same function as GPT-2's gelu_new, computed in one kernel.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
