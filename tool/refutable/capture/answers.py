"""What a model answers from prompts laid out with their thoughts, intact or edited."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from refutable.capture.edits import Edit
from refutable.capture.thoughts import Thoughts, last_hidden, position_ids

if TYPE_CHECKING:
    from torch import nn
    from transformers import Cache, PreTrainedModel


@torch.no_grad()
def answer_logits(
    model: PreTrainedModel,
    thoughts: Thoughts,
    *,
    edits: Mapping[int, Edit] | None = None,
    blocks: Sequence[nn.Module] = (),
) -> torch.Tensor:
    """Return the logits at the position that says the answer, shape (prompt, vocabulary).

    Parameters
    ----------
    model
        The model that the thoughts were made with, or another of its width.
    thoughts
        Inputs and spans.
    edits
        For the number of a block, a function of the residual stream before it, (prompt, position,
        dim), that returns what the block reads in its place.
    blocks
        The model's blocks (`refutable.models.sites.Sites.blocks`); needed with `edits`.
    """
    with ExitStack() as stack:
        for number, edit in (edits or {}).items():
            hook = blocks[number].register_forward_pre_hook(_before(edit), with_kwargs=True)
            stack.callback(hook.remove)
        more: dict[str, torch.Tensor | int] = {**position_ids(model, thoughts.present)}
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            more["logits_to_keep"] = 1
        out = model(
            inputs_embeds=thoughts.embeddings,
            attention_mask=thoughts.present.long(),
            use_cache=False,
            **more,
        )
    logits: torch.Tensor = out.logits[:, -1].float()
    return logits


class Rerun:
    """Answers with some input embeddings changed; what comes before them is computed once.

    Parameters
    ----------
    model
        The model that the thoughts were made with.
    thoughts
        Intact inputs.
    """

    def __init__(self, model: PreTrainedModel, thoughts: Thoughts) -> None:
        self._model, self._thoughts = model, thoughts
        self._cache: tuple[Cache | None] | None = None

    @torch.no_grad()
    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits that say the answer, shape (prompt, vocabulary).

        Parameters
        ----------
        embeddings
            Shape (prompt, position, dim), the intact ones but for what was changed.
        """
        changed = (embeddings != self._thoughts.embeddings).any(dim=-1).any(dim=0)
        first = int(changed.float().argmax()) if bool(changed.any()) else embeddings.shape[1] - 1
        known = self._known()
        if first == 0 or known is None:
            return answer_logits(self._model, replace(self._thoughts, embeddings=embeddings))
        cache = copy.deepcopy(known)
        cache.crop(first - embeddings.shape[1])
        hidden, _ = last_hidden(self._model, embeddings[:, first:], self._thoughts.present, cache)
        return _unembedded(self._model, hidden)

    def _known(self) -> Cache | None:
        """Keys and values of the intact inputs; ``None`` where they cannot be cut short."""
        if self._cache is None:
            inputs = self._thoughts
            hidden, last = last_hidden(self._model, inputs.embeddings, inputs.present, None)
            layers = getattr(last, "layers", [])
            whole = bool(layers) and not any(getattr(la, "is_sliding", False) for la in layers)
            if whole and torch.allclose(
                _unembedded(self._model, hidden), answer_logits(self._model, inputs), atol=1e-3
            ):
                self._cache = (last,)
            else:
                self._cache = (None,)
        return self._cache[0]


def _unembedded(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.get_output_embeddings()(hidden).float()
    return logits


def _before(edit: Edit) -> Callable[..., object]:
    def hook(
        _: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": edit(kwargs["hidden_states"])}

    return hook


@torch.no_grad()
def last_states(model: PreTrainedModel, thoughts: Thoughts) -> torch.Tensor:
    """Return the states that the unembedding reads, shape (prompt, position, dim)."""
    body = model.base_model
    out: torch.Tensor = body(
        inputs_embeds=thoughts.embeddings,
        attention_mask=thoughts.present.long(),
        use_cache=False,
        **position_ids(body, thoughts.present),
    ).last_hidden_state
    return out
