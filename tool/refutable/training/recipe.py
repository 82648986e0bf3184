"""Which twins there are and how they are trained: every number of it in one record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refutable.errors import RefutableError, near

if TYPE_CHECKING:
    from refutable.models.twin_model import TwinConfig


@dataclass(frozen=True, slots=True)
class Variant:
    """What one twin differs in."""

    name: str
    norm_kind: str
    """Kind of all its norms, the final one included: "layernorm", "rmsnorm" or "dyt"."""
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
DYT = Variant("dyt-both", "dyt", "both")
"""Tanh in the norms' place: the variant that docs/twins.md adds as an example."""

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
    schedule: str = "cosine"
    """Way from the peak to the end: "cosine" or "linear"."""
    final_rate: float = 0.1
    """Share of the peak that the schedule ends at."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    """On matrices; biases and norm gains have none."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    evaluate_every: int = 50
    checkpoint_every: int = 100
    checkpoints: tuple[int, ...] = ()
    """Steps after which a checkpoint is kept; multiples of `checkpoint_every` where empty."""
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

    def keeps(self, step: int) -> bool:
        """Whether the weights after a number of steps are kept."""
        if self.checkpoints:
            return step in self.checkpoints
        return step % self.checkpoint_every == 0


TRAINED = TwinRecipe(
    steps=13_600,
    learning_rate=4e-3,
    warmup=100,
    schedule="linear",
    final_rate=0.0,
    betas=(0.9, 0.98),
    evaluate_every=100,
    checkpoints=(300, 400, 600, 800, 1200, 1700, 2400, 3400, 4800, 6800, 9600, 13_600),
    log_every=100,
)
"""Twenty-three times as many tokens; checkpoints are evenly spaced in the log of the steps."""
TUNED_RATES = {"none": 6e-3}
"""Variants whose best rate is not the shared one of `TRAINED`, by the same rule: docs/twins.md."""
RECIPES = {"early": TwinRecipe(), "trained": TRAINED, "tuned": TRAINED}
"""By name; in "tuned" each variant has its own learning rate (`rate_of`)."""


def rate_of(recipe_name: str, variant: str) -> float:
    """Return the peak learning rate of a variant under a recipe."""
    shared = RECIPES[recipe_name].learning_rate
    return TUNED_RATES.get(variant, shared) if recipe_name == "tuned" else shared


def recipe_from(fields: Mapping[str, Any]) -> TwinRecipe:
    """Return the recipe of a training log; fields that a log lacks have their defaults."""
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return TwinRecipe(**{**fields, **lists})


def variant_named(name: str) -> Variant:
    """Return a variant.

    Raises
    ------
    RefutableError
        When there is none of that name.
    """
    for variant in (*VARIANTS, DYT):
        if variant.name == name:
            return variant
    known = [v.name for v in (*VARIANTS, DYT)]
    raise RefutableError(f"no twin named {name!r}: {near(name, known)}")


def variant_of(norm_kind: str, norm_place: str = "both", positions: str = "learned") -> Variant:
    """Return the variant with these fields, under the name that follows from them."""
    name = "none" if norm_place == "none" else f"{norm_kind}-{norm_place}"
    if norm_place == "none" and norm_kind != "layernorm":
        name = f"none-{norm_kind}"
    return Variant(
        f"{name}-no-positions" if positions == "none" else name, norm_kind, norm_place, positions
    )


def folder_name(variant: Variant, recipe_name: str) -> str:
    """Return the name of a variant's group of models: that of the early recipe has no suffix."""
    return variant.name if recipe_name == "early" else f"{variant.name}-{recipe_name}"


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
