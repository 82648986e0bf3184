"""The no-position model: a GPT-2 without positions, trained to recall the previous token.

Two layers of one head. The positional embedding is zero and frozen, so order can enter only
through the causal mask. Sequences are uniform random tokens behind a BOS token, and the target
at position t is the token at t - 1.

References
----------
no-position T1, T2, T9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from refutable.errors import RefutableError

if TYPE_CHECKING:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

VOCABULARY = 300
CONTEXT = 50
WIDTH = 64
BOS = 0
STUDY_DATA_SEED = 123
# Evaluation draws never come from a training stream: those are seeded 123, 124, ...
EVALUATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one run is trained; everything but the seed."""

    name: str
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    warm_up: int = 100
    schedule: Literal["min", "max"] = "min"
    """"min" is a linear warm-up to factor 1; "max" starts at factor 1 and grows without end."""
    batch: int = 256
    steps: int = 4000
    init_std: float = 0.1
    """Standard deviation of every matrix and embedding (.8 / sqrt(width)); biases start at 0."""

    def factor(self, step: int) -> float:
        """Return the factor on the learning rate at a step (step 0 is the first)."""
        bound = min if self.schedule == "min" else max
        return float(bound(step / self.warm_up, 1.0))


_PUBLISHED = Recipe(name="published")
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _PUBLISHED,
        replace(_PUBLISHED, name="fast", learning_rate=1e-3, batch=64, steps=800),
        # Row T9 compares these two: a smaller batch, so that ten runs stay affordable.
        replace(_PUBLISHED, name="max-schedule", schedule="max", batch=64, steps=1500),
        replace(_PUBLISHED, name="min-schedule", batch=64, steps=1500),
    )
}


def recipe_named(name: str) -> Recipe:
    """Return a recipe by name.

    Raises
    ------
    RefutableError
        When there is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise RefutableError(f"no recipe {name!r} for no-position: choose one of {known}")
    return RECIPES[name]


def model_config() -> GPT2Config:
    """Return the configuration: 2 layers, 1 head, width 64, ReLU, untied unembedding."""
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=2,
        n_head=1,
        n_inner=4 * WIDTH,
        activation_function="relu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=BOS,
        use_cache=False,
    )


def new_model(seed: int, init_std: float = _PUBLISHED.init_std) -> GPT2LMHeadModel:
    """Return an untrained model whose weights depend on the seed alone.

    Parameters
    ----------
    seed
        Seed of the initialisation.
    init_std
        Standard deviation of every weight matrix and of the embeddings.

    Notes
    -----
    The weights are drawn here and not by transformers' own initialisation (.02, output
    projections smaller still), which starts at a loss of ln 300 = 5.70; the published curve
    starts at 6.0077, as normal weights with standard deviation .8 / sqrt(64) = .1 do.
    """
    import torch
    from transformers import GPT2LMHeadModel

    generator = torch.Generator().manual_seed(seed)
    # The constructor draws weights that are overwritten below; spare the caller's own stream.
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(model_config())
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 2:
                parameter.normal_(0.0, init_std, generator=generator)
            else:
                norm_gain = ".ln_" in name and name.endswith(".weight")
                parameter.fill_(1.0 if norm_gain else 0.0)
        model.transformer.wpe.weight.zero_()
    model.transformer.wpe.weight.requires_grad_(False)
    return model


def sequences(seed: int, batch: int) -> Iterator[torch.Tensor]:
    """Yield batches of token ids without end, each of shape (batch, position).

    Position 0 is the BOS token; the others are uniform in 1..299. Seed 123 gives the study's
    stream.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    while True:
        tokens = torch.randint(1, VOCABULARY, (batch, CONTEXT), generator=generator)
        tokens[:, 0] = BOS
        yield tokens


def previous_token_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats of position t's logits with token t - 1, t >= 1.

    Parameters
    ----------
    logits
        Shape (batch, position, vocabulary).
    tokens
        Shape (batch, position).
    """
    import torch.nn.functional as functional

    return functional.cross_entropy(
        logits[:, 1:].reshape(-1, logits.shape[-1]), tokens[:, :-1].reshape(-1)
    )


def evaluation_tokens(count: int, seed: int = EVALUATION_SEED) -> torch.Tensor:
    """Return held-out sequences, shape (count, position), from a stream no training run reads."""
    return next(sequences(seed, count))


def held_out_loss(model: PreTrainedModel, count: int = 4000, seed: int = EVALUATION_SEED) -> float:
    """Return the mean previous-token loss over held-out sequences, in nats."""
    import torch

    tokens = evaluation_tokens(count, seed)
    total = 0.0
    with torch.no_grad():
        # Passes whose activations stay in the processor's cache.
        for chunk in tokens.split(50):
            chunk = chunk.to(model.device)
            total += float(previous_token_loss(model(chunk).logits, chunk)) * len(chunk)
    return total / count
