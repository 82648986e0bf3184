"""GPT-2 computed for several seeds at once, straight from stacked tensors.

Small models are bound by the launching of operations, not by arithmetic: one operation for all
seeds costs little more than for one. Tensors carry transformers' own names and a first dimension
``seed``; `of_seed` gives the state of one model, which `GPT2LMHeadModel` loads. Keys and values are
kept, so that a thought costs one position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.studies.thought_tokens.recipe import Recipe, Size
from refutable.studies.thought_tokens.task import CONTEXT, END, VOCABULARY

if TYPE_CHECKING:
    import torch

    Weights = dict[str, torch.Tensor]
    Cache = list[tuple[torch.Tensor, torch.Tensor]]

_EPSILON = 1e-5


def fresh_weights(size: Size, seed: int, recipe: Recipe) -> Weights:
    """Return the untrained tensors of one model, which depend on size and seed alone.

    Output projections are drawn smaller by the square root of the number of residual additions.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    width = size.width
    weights: Weights = {}

    def normal(name: str, shape: tuple[int, ...], std: float) -> None:
        weights[name] = torch.randn(*shape, generator=generator) * std

    normal("transformer.wte.weight", (VOCABULARY, width), recipe.embedding_std)
    normal("transformer.wpe.weight", (CONTEXT, width), recipe.embedding_std)
    std = recipe.matrix_gain / math.sqrt(width)
    out = std / math.sqrt(2 * size.blocks)
    for block in range(size.blocks):
        at = f"transformer.h.{block}"
        for name, shape, spread in (
            ("attn.c_attn", (width, 3 * width), std),
            ("attn.c_proj", (width, width), out),
            ("mlp.c_fc", (width, 4 * width), std),
            ("mlp.c_proj", (4 * width, width), out / 2),
        ):
            normal(f"{at}.{name}.weight", shape, spread)
            weights[f"{at}.{name}.bias"] = torch.zeros(shape[1])
        for norm in ("ln_1", "ln_2"):
            weights[f"{at}.{norm}.weight"] = torch.ones(width)
            weights[f"{at}.{norm}.bias"] = torch.zeros(width)
    weights["transformer.ln_f.weight"] = torch.ones(width)
    weights["transformer.ln_f.bias"] = torch.zeros(width)
    return weights


def stack(models: list[Weights]) -> Weights:
    """Stack the tensors of several models along a new first dimension ``seed``."""
    import torch

    return {name: torch.stack([model[name] for model in models]) for name in models[0]}


def of_seed(weights: Weights, place: int) -> Weights:
    """Return one model's tensors out of a stack, as `GPT2LMHeadModel` loads them."""
    tensors = {name: tensor[place].detach().clone() for name, tensor in weights.items()}
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return tensors


@dataclass(frozen=True, slots=True)
class Stacked:
    """A stack of models of one size."""

    weights: Weights
    size: Size

    def answers(
        self, prompts: torch.Tensor, values: torch.Tensor, thoughts: int, *, first: int
    ) -> torch.Tensor:
        """Return logits of the written values that follow the thoughts, and of the answer.

        Parameters
        ----------
        prompts
            Token ids (seed, problem, position).
        values
            Value after each slot (seed, problem, slot).
        thoughts
            How many thoughts come before anything is written.
        first
            Slot from which on values are written out before the answer; 6 writes none.

        Returns
        -------
        torch.Tensor
            Shape (seed, problem, written values + 1, vocabulary); the answer's are the last.
        """
        import torch

        hidden, cache = self._run(self._embedded(prompts), None)
        last, at = hidden[:, :, -1:], prompts.shape[-1]
        for _ in range(thoughts):
            # The last hidden state, after the final norm, is the next input embedding.
            last, cache = self._run(last, cache, at)
            at += 1
        end = torch.full_like(prompts[..., :1], END)
        tail = torch.cat([values[..., first:], end], dim=-1)
        hidden, _ = self._run(self._embedded(tail), cache, at)
        if tail.shape[-1] > 1:
            # The position before a written value names it; the last value names nothing.
            hidden = torch.cat([last, hidden[:, :, :-2], hidden[:, :, -1:]], dim=2)
        return self._logits(hidden)

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        import torch
        import torch.nn.functional as functional

        table = self.weights["transformer.wte.weight"]
        first = torch.arange(len(table), device=tokens.device)[:, None, None] * VOCABULARY
        return functional.embedding(tokens + first, table.reshape(-1, self.size.width))

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        rows = hidden.reshape(len(hidden), -1, self.size.width)
        logits = torch.bmm(rows, self.weights["transformer.wte.weight"].transpose(1, 2))
        return logits.view(*hidden.shape[:-1], VOCABULARY)

    def _run(
        self, embedded: torch.Tensor, cache: Cache | None, at: int = 0
    ) -> tuple[torch.Tensor, Cache]:
        """Run positions ``at`` and on; return the states after the final norm, and all keys."""
        import torch
        import torch.nn.functional as functional

        seeds, count, new, width = embedded.shape
        heads = self.size.heads
        positions = self.weights["transformer.wpe.weight"][:, None, at : at + new]
        stream = embedded + positions
        mask = None
        if cache is not None and new > 1:
            every = torch.ones(new, at + new, dtype=torch.bool, device=embedded.device)
            mask = every.tril(at)
        kept: Cache = []
        for block in range(self.size.blocks):
            name = f"transformer.h.{block}"
            mixed = self._affine(self._norm(stream, f"{name}.ln_1"), f"{name}.attn.c_attn")
            split = mixed.view(seeds * count, new, 3, heads, width // heads)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            if cache is not None:
                key = torch.cat([cache[block][0], key], dim=2)
                value = torch.cat([cache[block][1], value], dim=2)
            kept.append((key, value))
            attended = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=cache is None
            )
            attended = attended.transpose(1, 2).reshape(seeds, count, new, width)
            stream = stream + self._affine(attended, f"{name}.attn.c_proj")
            inner = self._affine(self._norm(stream, f"{name}.ln_2"), f"{name}.mlp.c_fc")
            inner = functional.gelu(inner, approximate="tanh")
            stream = stream + self._affine(inner, f"{name}.mlp.c_proj")
        return self._norm(stream, "transformer.ln_f"), kept

    def _norm(self, stream: torch.Tensor, name: str) -> torch.Tensor:
        import torch.nn.functional as functional

        gain, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        unit = functional.layer_norm(stream, (self.size.width,), eps=_EPSILON)
        return unit * gain[:, None, None] + shift[:, None, None]

    def _affine(self, stream: torch.Tensor, name: str) -> torch.Tensor:
        import torch

        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        rows = stream.reshape(len(stream), -1, stream.shape[-1])
        return torch.baddbmm(bias[:, None], rows, weight).view(*stream.shape[:-1], -1)
