"""What a model answers from prompts laid out with their thoughts, intact or edited."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from refutable.capture.edits import Edit
from refutable.capture.plain import written
from refutable.capture.thought_parts import Part, gathered, parts_of
from refutable.capture.thoughts import Thoughts, last_hidden, position_ids

if TYPE_CHECKING:
    from torch import nn
    from transformers import Cache, PreTrainedModel

    Begin = Callable[[Part], None]
    Inputs = tuple[torch.Tensor, torch.Tensor]

_last: WeakKeyDictionary[PreTrainedModel, tuple[int, Inputs, torch.Tensor]] = WeakKeyDictionary()
"""By model, the last question and its answer: two observables ask one after the other."""


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
    if not edits:
        return _intact(model, thoughts)
    with ExitStack() as stack:
        for number, edit in edits.items():
            hook = blocks[number].register_forward_pre_hook(_before(edit), with_kwargs=True)
            stack.callback(hook.remove)
        return _answers(model, thoughts)


def _intact(model: PreTrainedModel, thoughts: Thoughts) -> torch.Tensor:
    """Answers without an edit, part by part; kept for whoever asks the same question next."""
    inputs = thoughts.embeddings, thoughts.present
    known = _last.get(model)
    if known is None or known[0] != written(model) or not _equal(known[1], inputs):
        parts = parts_of(thoughts)
        logits = gathered(parts, [_answers(model, part.thoughts) for part in parts])
        known = (written(model), inputs, logits)
        _last[model] = known
    return known[2].clone()


def _equal(one: Inputs, other: Inputs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@torch.no_grad()
def each_part(model: PreTrainedModel, thoughts: Thoughts, part_begins: Begin) -> None:
    """Run all prompts, part by part, and tell before each pass which part it holds.

    Parameters
    ----------
    model, thoughts
        As for `answer_logits`.
    part_begins
        Called with each part before its pass: what hangs on the model reads it there.
    """
    for part in parts_of(thoughts):
        part_begins(part)
        _answers(model, part.thoughts)


def _answers(model: PreTrainedModel, thoughts: Thoughts) -> torch.Tensor:
    """Logits at the last position of one pass, (prompt, vocabulary)."""
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
    intact
        What `answer_logits` gives for them, where it is known.
    """

    def __init__(
        self, model: PreTrainedModel, thoughts: Thoughts, intact: torch.Tensor | None = None
    ) -> None:
        self._model, self._thoughts = model, thoughts
        self._intact = intact
        self._parts = parts_of(thoughts)
        self._caches: list[Cache | None] | None = None

    @torch.no_grad()
    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits that say the answer, shape (prompt, vocabulary).

        Parameters
        ----------
        embeddings
            Shape (prompt, position, dim), the intact ones but for what was changed.
        """
        logits = [
            self._of_part(part, cache, part.of(embeddings))
            for part, cache in zip(self._parts, self._known(), strict=True)
        ]
        return gathered(self._parts, logits)

    def _of_part(self, part: Part, cache: Cache | None, embeddings: torch.Tensor) -> torch.Tensor:
        changed = (embeddings != part.thoughts.embeddings).any(dim=-1).any(dim=0)
        first = int(changed.float().argmax()) if bool(changed.any()) else embeddings.shape[1] - 1
        if first == 0 or cache is None:
            return _answers(self._model, replace(part.thoughts, embeddings=embeddings))
        cache = copy.deepcopy(cache)
        cache.crop(first - embeddings.shape[1])
        hidden, _ = last_hidden(self._model, embeddings[:, first:], part.thoughts.present, cache)
        return _unembedded(self._model, hidden)

    def _known(self) -> list[Cache | None]:
        """Keys and values of each part's intact inputs; ``None`` if they cannot be cut short."""
        if self._caches is None:
            intact = self._intact
            if intact is None:
                intact = answer_logits(self._model, self._thoughts)
            self._caches = [
                self._cache_of(part.thoughts, intact.index_select(0, part.rows))
                for part in self._parts
            ]
        return self._caches

    def _cache_of(self, inputs: Thoughts, intact: torch.Tensor) -> Cache | None:
        hidden, last = last_hidden(self._model, inputs.embeddings, inputs.present, None)
        layers = getattr(last, "layers", [])
        whole = bool(layers) and not any(getattr(la, "is_sliding", False) for la in layers)
        same = whole and torch.allclose(_unembedded(self._model, hidden), intact, atol=1e-3)
        return last if same else None


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
