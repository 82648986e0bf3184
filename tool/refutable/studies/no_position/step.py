"""One optimiser step of the no-position model, as the plain loop does it and faster.

The two give the same losses to float noise. The fast one passes over the batch in pieces that
stay in the processor's cache (large activations cost page faults and memory traffic), skips the
module machinery and the logits of position 0, which the loss leaves out, and updates with one
fused kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from refutable.studies.no_position.model import Recipe, previous_token_loss

if TYPE_CHECKING:
    import torch
    from transformers import GPT2LMHeadModel

_CACHE_SIZED = 16  # sequences a pass on a CPU; 8 to 32 measured alike, 256 a third slower
_LAYERS = 2


class TrainingStep(Protocol):
    """Takes one batch, updates the model and returns the loss before the update."""

    optimizer: torch.optim.Optimizer

    def __call__(self, tokens: torch.Tensor, step: int) -> torch.Tensor:
        """Update on a batch of tokens (batch, position); return the mean loss, a scalar tensor."""


def trainable(model: GPT2LMHeadModel) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained: all but the frozen positional embedding."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _adamw(model: GPT2LMHeadModel, recipe: Recipe, fused: bool) -> torch.optim.AdamW:
    import torch

    return torch.optim.AdamW(
        trainable(model),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


class PlainStep:
    """The step as one would first write it: whole batch, the model's own forward."""

    def __init__(self, model: GPT2LMHeadModel, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.optimizer: torch.optim.Optimizer = _adamw(model, recipe, fused=False)

    def __call__(self, tokens: torch.Tensor, step: int) -> torch.Tensor:
        """Update on a batch; return its loss."""
        self.optimizer.zero_grad()
        loss = previous_token_loss(self.model(tokens).logits, tokens)
        loss.backward()
        _finish(self.optimizer, trainable(self.model), self.recipe, step)
        return loss.detach()


class FastStep:
    """The same step on pieces of the batch that fit the cache, with one fused update."""

    def __init__(self, model: GPT2LMHeadModel, recipe: Recipe) -> None:
        self.recipe = recipe
        self.weights = dict(model.named_parameters())
        self.parameters = trainable(model)
        self.epsilon = float(model.config.layer_norm_epsilon)
        self.piece = _CACHE_SIZED if model.device.type == "cpu" else recipe.batch
        self.optimizer: torch.optim.Optimizer = _adamw(model, recipe, fused=True)

    def __call__(self, tokens: torch.Tensor, step: int) -> torch.Tensor:
        """Update on a batch; return its loss."""
        import torch

        # Gradients are kept and zeroed: later pieces add to them in place.
        self.optimizer.zero_grad(set_to_none=False)
        targets = tokens.shape[0] * (tokens.shape[1] - 1)
        total = torch.zeros((), device=tokens.device)
        for piece in tokens.split(self.piece):
            loss = summed_loss(self.weights, piece, self.epsilon) / targets
            loss.backward()
            total += loss.detach()
        _finish(self.optimizer, self.parameters, self.recipe, step)
        return total


def _finish(
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    recipe: Recipe,
    step: int,
) -> None:
    """Clip the gradient, set the scheduled learning rate and update."""
    import torch

    torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * recipe.factor(step)
    optimizer.step()


def summed_loss(
    weights: dict[str, torch.nn.Parameter], tokens: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Return the previous-token loss summed over a batch, computed straight from GPT-2's tensors.

    Parameters
    ----------
    weights
        The model's parameters under transformers' names.
    tokens
        Shape (batch, position).
    epsilon
        The LayerNorms' epsilon.
    """
    import torch
    import torch.nn.functional as functional

    batch, positions = tokens.shape
    residual = functional.embedding(tokens, weights["transformer.wte.weight"])
    width = residual.shape[-1]

    def norm(stream: torch.Tensor, name: str) -> torch.Tensor:
        gain, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(stream, (width,), gain, shift, epsilon).reshape(-1, width)

    def affine(rows: torch.Tensor, name: str) -> torch.Tensor:
        return torch.addmm(weights[f"{name}.bias"], rows, weights[f"{name}.weight"])

    for layer in range(_LAYERS):
        at = f"transformer.h.{layer}"
        qkv = affine(norm(residual, f"{at}.ln_1"), f"{at}.attn.c_attn")
        query, key, value = qkv.view(batch, 1, positions, 3 * width).split(width, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended = affine(mixed.reshape(-1, width), f"{at}.attn.c_proj")
        residual = residual + attended.view(batch, positions, width)
        hidden = torch.relu(affine(norm(residual, f"{at}.ln_2"), f"{at}.mlp.c_fc"))
        residual = residual + affine(hidden, f"{at}.mlp.c_proj").view(batch, positions, width)
    logits = norm(residual[:, 1:], "transformer.ln_f") @ weights["lm_head.weight"].T
    return functional.cross_entropy(logits, tokens[:, :-1].reshape(-1), reduction="sum")
