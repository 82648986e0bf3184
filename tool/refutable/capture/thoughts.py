"""Continuous thoughts: the last hidden state fed back as the next input embedding.

`latent_thoughts` runs any decoder that takes ``inputs_embeds``; `written_thoughts` lays prompts out
whose thoughts are ordinary tokens. Both leave a `Thoughts`: embeddings and named spans, from which
`refutable.capture.answers` runs the model with thoughts replaced or not. No caller computes a
position.

References
----------
S. Hao et al., Training large language models to reason in a continuous latent space, 2024.
Z. Shen et al., CODI: compressing chain-of-thought into continuous space via self-distillation,
2025.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from refutable.errors import NotAvailableError, PromptError, RefutableError

if TYPE_CHECKING:
    from torch import nn
    from transformers import Cache, PreTrainedModel


@dataclass(frozen=True, slots=True, eq=False)
class Thoughts:
    """Prompts with their thoughts, padded on the left, as a model's inputs."""

    embeddings: torch.Tensor
    """Input embeddings, shape (prompt, position, dim); zero where there is no token."""
    present: torch.Tensor
    """Whether a position holds anything, shape (prompt, position)."""
    spans: Mapping[str, torch.Tensor]
    """Positions of each name, booleans of shape (prompt, position). ``t0`` to ``t5`` are the
    thoughts, ``begin`` and ``end`` the tokens around latent ones, ``answer`` the position whose
    logits say the answer."""
    count: int
    """Number of thoughts."""
    latent: bool
    """Whether thoughts are hidden states fed back, rather than written tokens."""

    def thought(self, number: int) -> torch.Tensor:
        """Return where a thought lies, booleans of shape (prompt, position).

        Raises
        ------
        RefutableError
            If there is no such thought.
        """
        if not 0 <= number < self.count:
            raise RefutableError(
                f"no thought {number}: these prompts have thoughts 0 to {self.count - 1}"
            )
        return self.spans[f"t{number}"]

    def columns(self, name: str) -> tuple[int, ...]:
        """Return the positions of a span that lies at the same place in every prompt.

        Raises
        ------
        RefutableError
            If there is no such span, or it does not.
        """
        if name not in self.spans:
            raise RefutableError(f"no span {name!r}: there are {', '.join(self.spans)}")
        span = self.spans[name]
        if not bool((span == span[:1]).all()):
            raise RefutableError(f"span {name!r} lies elsewhere in each prompt: use its mask")
        return tuple(span[0].nonzero()[:, 0].tolist())


@torch.no_grad()
def latent_thoughts(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    k: int = 6,
    *,
    end: Sequence[int] = (),
) -> Thoughts:
    """Let a decoder think: feed the last hidden state back k times as the next input embedding.

    Parameters
    ----------
    model
        A causal language model in evaluation mode that takes ``inputs_embeds``.
    prompts
        Token ids of each prompt; the last one begins the thoughts. They may differ in length.
    k
        Number of thoughts.
    end
        Token ids put behind the thoughts; the last position then says the answer.

    Returns
    -------
    Thoughts
        With the spans ``prompt``, ``begin``, ``t0`` and on, ``thoughts``, ``end`` (where tokens
        were given) and ``answer``.

    Raises
    ------
    RefutableError
        If k is not positive.
    PromptError
        If there is no prompt, or an empty one.
    NotAvailableError
        If the model takes no input embeddings, reads prompts in an encoder, or reads padding as
        text and the prompts differ in length.

    Notes
    -----
    The hidden state is the one that the unembedding reads, after the final norm, as in Coconut.
    """
    if k < 1:
        raise RefutableError(
            f"expected k of 1 thought or more, got k={k}: without thoughts a prompt is an ordinary "
            "one"
        )
    made = _laid_out(model, prompts)
    cache: Cache | None = None
    fed = made.embeddings
    for number in range(k):
        hidden, cache = last_hidden(model, fed, made.present, cache)
        if cache is None and number == 0:
            _refuse_read_padding(model, made, hidden)
        made = _longer(made, hidden[:, None], f"t{number}")
        # A model that keeps no keys and values, such as Mamba, reads all of it again.
        fed = made.embeddings if cache is None else hidden[:, None]
    if end:
        made = _longer(made, _embedded(model, [list(end)] * len(prompts)), "end")
    return _finished(made, k, latent=True)


@torch.no_grad()
def rethink(
    model: PreTrainedModel, thoughts: Thoughts, replaced: Mapping[int, torch.Tensor]
) -> Thoughts:
    """Feed other vectors as some thoughts, and think the later ones anew from what was fed.

    Parameters
    ----------
    model
        The model that the thoughts were made with.
    thoughts
        From `latent_thoughts`.
    replaced
        By number of a thought, what is fed in its place, shape (prompt, dim).

    Raises
    ------
    RefutableError
        If the thoughts are written ones, or there is no thought of that number.
    """
    if not thoughts.latent:
        raise RefutableError("written thoughts are not computed from one another: edit their input")
    outside = [number for number in replaced if not 0 <= number < thoughts.count]
    if outside or not replaced:
        named = outside[0] if outside else "named"
        raise RefutableError(f"no thought {named}: there are thoughts 0 to {thoughts.count - 1}")
    embeddings = thoughts.embeddings.clone()
    at = [thoughts.columns(f"t{number}")[0] for number in range(thoughts.count)]
    first, cache, done = min(replaced), None, 0
    embeddings[:, at[first]] = replaced[first].to(embeddings.dtype)
    for number in range(first + 1, thoughts.count):
        until = at[number]
        hidden, cache = last_hidden(
            model, embeddings[:, done:until], thoughts.present[:, :until], cache
        )
        embeddings[:, until] = replaced.get(number, hidden).to(embeddings.dtype)
        done = 0 if cache is None else until
    return replace(thoughts, embeddings=embeddings)


@torch.no_grad()
def without_thoughts(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, end: Sequence[int] = ()
) -> Thoughts:
    """Lay prompts out whose answer follows at once, with nothing thought.

    Parameters
    ----------
    model, prompts, end
        As for `latent_thoughts`.
    """
    made = _laid_out(model, prompts)
    if end:
        made = _longer(made, _embedded(model, [list(end)] * len(prompts)), "end")
    return _finished(made, 0, latent=True)


@torch.no_grad()
def written_thoughts(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    spans: Sequence[Mapping[str, Sequence[int]]],
    k: int = 6,
) -> Thoughts:
    """Lay prompts out whose thoughts are written tokens, named ``t0`` to ``t{k-1}``.

    Parameters
    ----------
    model
        As for `latent_thoughts`.
    prompts
        Token ids of each prompt; what follows the last one is the answer.
    spans
        Positions of each name, for each prompt.
    k
        Number of thoughts.

    Raises
    ------
    PromptError
        If a prompt lacks a thought, or a span reaches past its end.
    """
    made = _laid_out(model, prompts)
    width = made.present.shape[1]
    named: dict[str, torch.Tensor] = {}
    for row, (ids, span) in enumerate(zip(prompts, spans, strict=True)):
        lacking = [f"t{n}" for n in range(k) if not span.get(f"t{n}")]
        if lacking:
            raise PromptError(f"prompt {row} marks no span {lacking[0]!r}: mark t0 to t{k - 1}")
        for name, positions in span.items():
            past = [at for at in positions if not 0 <= at < len(ids)]
            if past:
                raise PromptError(
                    f"span {name!r} of prompt {row} reaches position {past[0]}, past the end of "
                    f"{len(ids)} tokens"
                )
            mask = named.setdefault(name, torch.zeros_like(made.present))
            mask[row, [width - len(ids) + at for at in positions]] = True
    spanned = replace(made, spans={"prompt": made.spans["prompt"], **named})
    return _finished(spanned, k, latent=False)


def _laid_out(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Thoughts:
    if "inputs_embeds" not in inspect.signature(model.forward).parameters:
        raise NotAvailableError(
            f"{type(model).__name__} takes no inputs_embeds, so no thought can be fed to it"
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise NotAvailableError(
            f"{type(model).__name__} reads prompts in an encoder: thoughts need a decoder alone"
        )
    if not prompts or not all(len(ids) for ids in prompts):
        raise PromptError("thoughts need prompts of at least one token each")
    lengths = torch.tensor([len(ids) for ids in prompts])
    width = int(lengths.max())
    padded = [[0] * (width - len(ids)) + list(ids) for ids in prompts]
    embeddings = _embedded(model, padded)
    present = torch.arange(width)[None] >= (width - lengths)[:, None]
    present = present.to(embeddings.device)
    embeddings = torch.where(present[..., None], embeddings, torch.zeros_like(embeddings))
    begin = torch.zeros_like(present)
    begin[:, -1] = True
    return Thoughts(embeddings, present, {"prompt": present, "begin": begin}, 0, True)


def _embedded(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    table = model.get_input_embeddings()
    device = next(table.parameters()).device
    embedded: torch.Tensor = table(torch.tensor([list(row) for row in ids]).to(device))
    return embedded


def _longer(made: Thoughts, added: torch.Tensor, name: str) -> Thoughts:
    """Append the same number of positions to every prompt, under a name."""
    new = added.shape[1]
    grown = torch.ones(len(added), new, dtype=torch.bool, device=added.device)
    spans = {key: torch.cat([mask, ~grown], dim=1) for key, mask in made.spans.items()}
    spans[name] = torch.cat([torch.zeros_like(made.present), grown], dim=1)
    return replace(
        made,
        embeddings=torch.cat([made.embeddings, added.to(made.embeddings.dtype)], dim=1),
        present=torch.cat([made.present, grown], dim=1),
        spans=spans,
    )


def _finished(made: Thoughts, count: int, *, latent: bool) -> Thoughts:
    spans = dict(made.spans)
    every = torch.zeros_like(made.present)
    for number in range(count):
        every |= spans[f"t{number}"]
    answer = torch.zeros_like(made.present)
    answer[:, -1] = True
    spans |= {"thoughts": every, "answer": answer}
    return replace(made, spans=spans, count=count, latent=latent)


def position_ids(
    model: nn.Module, present: torch.Tensor, new: int | None = None
) -> dict[str, torch.Tensor]:
    """Position ids that count from a prompt's first token, for models that take them."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    positions = (present.long().cumsum(dim=1) - 1).clamp(min=0)
    return {"position_ids": positions if new is None else positions[:, -new:]}


def last_hidden(
    model: PreTrainedModel, fed: torch.Tensor, present: torch.Tensor, cache: Cache | None
) -> tuple[torch.Tensor, Cache | None]:
    """Run what is newly fed behind a cache; return the last hidden state and the new cache.

    A model that keeps no keys and values gives none, and must be fed all of it each time.
    """
    body = model.base_model
    out = body(
        inputs_embeds=fed,
        attention_mask=present.long(),
        past_key_values=cache,
        use_cache=True,
        **position_ids(body, present, fed.shape[1]),
    )
    return out.last_hidden_state[:, -1], getattr(out, "past_key_values", None)


def _refuse_read_padding(model: PreTrainedModel, made: Thoughts, hidden: torch.Tensor) -> None:
    """Refuse prompts of several lengths where a model takes no notice of the attention mask."""
    shortest = int(made.present.sum(dim=1).argmin())
    there = made.present[shortest]
    if bool(there.all()):
        return
    alone, _ = last_hidden(model, made.embeddings[shortest, there][None], there[there][None], None)
    if not torch.allclose(alone[0], hidden[shortest], atol=1e-3, rtol=1e-3):
        raise NotAvailableError(
            f"{type(model).__name__} reads padding as text: give it prompts of one length"
        )
