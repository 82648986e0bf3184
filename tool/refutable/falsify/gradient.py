"""Token proposals by the gradient of a claim's margin with respect to the input embeddings.

The body of a claim is plain numpy and xarray, so torch cannot differentiate it. This is done in
two parts: by central differences of the body in the few recorded numbers of a prompt, and by
backpropagation of those numbers to the embeddings of its tokens. To first order, putting token v in
place i changes the margin by gradient_i . (embedding_v - embedding_i); the tokens with the largest
change are proposed. (The first-order ranking is that of HotFlip, Ebrahimi et al. 2018.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.packing import make_rows
from refutable.capture.plan import make_plan
from refutable.falsify.objective import Objective
from refutable.falsify.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

MOST_NUMBERS = 2048
"""Recorded numbers of one prompt above which the body is not differentiated."""
_STEP = 1e-3
_ROWS = 8192


class Gradients:
    """Replacements that should raise the margin of a claim, to first order.

    Parameters
    ----------
    objective : Objective
        The claim on a model.
    vocabulary : Vocabulary
        Which tokens may be proposed.
    """

    def __init__(self, objective: Objective, vocabulary: Vocabulary) -> None:
        self._objective = objective
        self._vocabulary = vocabulary
        self.problem = "what is measured is no single pass" if objective.experiments else ""
        """Why there are no gradients; empty as long as there are."""

    def __call__(self, starts: Sequence[Ids], count: int) -> list[Ids]:
        """Return prompts with one token replaced, the most promising of each first.

        Parameters
        ----------
        starts : sequence of tuple of int
            Prompts of one length; they share a pass where the model's layout allows it.
        count : int
            Replacements of each.

        Returns
        -------
        list of tuple of int
            At most `count` of each; none where the body has no slope there or the model no
            gradient, the reason is then in `problem`.
        """
        if self.problem or not starts:
            return []
        starts = starts[: 1 if self._objective.subject.layout == "single" else len(starts)]
        try:
            gradients = self._of_embeddings(starts)
        # An architecture may refuse gradients in any way it likes; the search goes on without.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            return []
        if gradients is None:
            return []
        made: list[Ids] = []
        for ids, gradient in zip(starts, gradients, strict=True):
            if bool(gradient.isfinite().all()):
                made += self._best(ids, gradient, count)
        return made

    def _of_embeddings(self, starts: Sequence[Ids]) -> torch.Tensor | None:
        """Gradients of the margins: (prompt, token, dim), BOS left out; ``None`` without slope."""
        import torch

        from refutable.capture.hooks import Capture

        subject = self._objective.subject
        encoded = self._objective.encoded(starts)
        width = len(encoded.ids[0])
        tokens = width * len(starts)
        (pack,) = make_rows([width] * len(starts), token_budget=tokens, least=1)
        plan = make_plan(self._objective.recorded)
        with torch.enable_grad(), _leaf(subject.sites.embedding) as inputs:
            with Capture(subject.loaded.model, subject.sites, plan) as capture:
                reduced = capture.reduce(pack, encoded.ids)
            slopes = self._each({n: v.detach().cpu().numpy() for n, v in reduced.items()})
            total = sum(
                (torch.as_tensor(slope, dtype=reduced[name].dtype, device=reduced[name].device)
                 * reduced[name]).sum()
                for name, slope in slopes.items()
            )  # fmt: skip
            if not torch.is_tensor(total) or not total.requires_grad:
                return None
            (gradient,) = torch.autograd.grad(total, inputs)
        shaped = gradient.reshape(len(starts), width, gradient.shape[-1])
        return shaped[:, width - len(starts[0]) :].float()

    def _each(self, values: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float64]]:
        """Slopes of all prompts, as many at once as `MOST_NUMBERS` squared numbers hold."""
        of_prompt = [item.name for item in self._objective.recorded if item.per_prompt]
        count = len(values[of_prompt[0]])
        numbers = sum(values[name][0].size for name in of_prompt)
        some = max(1, (MOST_NUMBERS // max(1, numbers)) ** 2)
        parts = []
        for first in range(0, count, some):
            cut = {n: values[n][first : first + some] for n in of_prompt}
            parts.append(self._slopes(values | cut, min(some, count - first)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _slopes(
        self, values: dict[str, NDArray[np.generic]], count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Slopes of the margins of some prompts in each of their recorded floating-point numbers.

        Every number is moved by a step in copies of its prompt, all of which are judged at once.
        """
        of_prompt = {
            item.name: item.per_prompt and values[item.name].dtype.kind == "f"
            for item in self._objective.recorded
        }
        moved = [(n, at) for n, yes in of_prompt.items() if yes for at in range(values[n][0].size)]
        if len(moved) > MOST_NUMBERS:
            raise ValueError(f"{len(moved)} numbers of a prompt, more than {MOST_NUMBERS}")
        copies = 1 + 2 * len(moved)
        table = {
            item.name: np.repeat(values[item.name], copies, axis=0)
            if item.per_prompt
            else values[item.name]
            for item in self._objective.recorded
        }
        exact = {name: table[name].astype(np.float64) for name, yes in of_prompt.items() if yes}
        steps = np.ones((count, len(moved)))
        for k, (name, at) in enumerate(moved):
            flat = values[name].reshape(count, -1).astype(float)[:, at]
            steps[:, k] = _STEP * np.maximum(np.abs(flat), 1e-3)
            shaped = exact[name].reshape(count, copies, -1)
            shaped[:, 1 + 2 * k, at] += steps[:, k]
            shaped[:, 2 + 2 * k, at] -= steps[:, k]
        margins, _ = self._objective.judge({**table, **exact}, count * copies)
        margins = margins.reshape(count, copies)
        with np.errstate(invalid="ignore"):
            change = (margins[:, 1::2] - margins[:, 2::2]) / (2 * steps)
        # Where a step leaves the body's domain there is no slope to follow.
        change[~np.isfinite(change)] = 0.0
        slopes = {n: np.zeros((count, values[n][0].size)) for n, yes in of_prompt.items() if yes}
        for k, (name, at) in enumerate(moved):
            slopes[name][:, at] = change[:, k]
        return {name: slope.reshape(values[name].shape) for name, slope in slopes.items()}

    def _best(self, ids: Ids, gradient: torch.Tensor, count: int) -> list[Ids]:
        import torch

        embedding = self._objective.subject.sites.embedding
        allowed = torch.tensor(self._vocabulary.ordered, device=gradient.device)
        with torch.no_grad():
            current = embedding(torch.tensor(ids, device=gradient.device)).float()
            here = (gradient * current).sum(-1)
            gains, tokens = [], []
            for chunk in allowed.split(_ROWS):
                gain = embedding(chunk).float() @ gradient.T - here
                kept = gain.topk(min(count, gain.shape[0]), dim=0)
                gains.append(kept.values)
                tokens.append(chunk[kept.indices])
            gain, token = torch.cat(gains), torch.cat(tokens)
        order = gain.flatten().argsort(descending=True)[: count + len(ids)]
        columns = (order % len(ids)).tolist()
        made: dict[Ids, None] = {}
        for at, other in zip(columns, token.flatten()[order].tolist(), strict=True):
            made[(*ids[:at], other, *ids[at + 1 :])] = None
        made.pop(ids, None)
        return list(made)[:count]


@contextmanager
def _leaf(embedding: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Let the embedding's output be what is differentiated; yields a list that gets it."""
    inputs: list[torch.Tensor] = []

    def mark(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        inputs.append(output.detach().requires_grad_())
        return inputs[-1]

    handle = embedding.register_forward_hook(mark)
    try:
        yield inputs
    finally:
        handle.remove()
