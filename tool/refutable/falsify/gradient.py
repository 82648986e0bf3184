"""Token proposals by the gradient of a claim's margin with respect to the input embeddings.

The body of a claim is plain numpy and xarray, so torch cannot differentiate it. This is done in
two parts: by central differences of the body in the few recorded numbers of a prompt, and by
backpropagation of those numbers to the embeddings of its tokens. To first order, putting token v in
place i changes the margin by gradient_i . (embedding_v - embedding_i); the tokens with the largest
change are proposed. (The first-order ranking is that of HotFlip, Ebrahimi et al. 2018.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.packing import make_packs
from refutable.capture.plan import make_plan
from refutable.falsify.objective import Objective, Scored
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

    def __call__(self, ids: Ids, count: int) -> list[Ids]:
        """Return `ids` with one token replaced, the most promising first.

        Returns
        -------
        list of tuple of int
            At most `count`; none where the body has no slope there or the model no gradient, the
            reason is then in `problem`.
        """
        if self.problem:
            return []
        try:
            gradient = self._of_embeddings(ids)
        # An architecture may refuse gradients in any way it likes; the search goes on without.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            return []
        if gradient is None or not bool(gradient.isfinite().all()):
            return []
        return self._best(ids, gradient, count)

    def _of_embeddings(self, ids: Ids) -> torch.Tensor | None:
        """Gradient of the margin: (token, dim), BOS left out; ``None`` where there is no slope."""
        import torch

        from refutable.capture.hooks import Capture

        subject = self._objective.subject
        encoded = self._objective.encoded([ids])
        pack = make_packs([len(encoded.ids[0])], "single", token_budget=1)[0]
        plan = make_plan(self._objective.recorded)
        with torch.enable_grad(), _leaf(subject.sites.embedding) as inputs:
            with Capture(subject.loaded.model, subject.sites, plan) as capture:
                reduced = capture.reduce(pack, encoded.ids)
            slopes = self._slopes({n: v.detach().cpu().numpy() for n, v in reduced.items()})
            total = sum(
                (torch.as_tensor(slope, dtype=reduced[name].dtype, device=reduced[name].device)
                 * reduced[name]).sum()
                for name, slope in slopes.items()
            )  # fmt: skip
            if not torch.is_tensor(total) or not total.requires_grad:
                return None
            (gradient,) = torch.autograd.grad(total, inputs)
        return gradient.reshape(-1, gradient.shape[-1])[-len(ids) :].float()

    def _slopes(self, values: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float64]]:
        """Slope of the margin in each recorded floating-point number of one prompt."""
        floating = {n: v for n, v in values.items() if v.dtype.kind == "f"}
        numbers = sum(v.size for v in floating.values())
        if numbers > MOST_NUMBERS:
            raise ValueError(f"{numbers} numbers of a prompt, more than {MOST_NUMBERS}")
        coordinates = [(name, at) for name, v in floating.items() for at in range(v.size)]
        copies = 1 + 2 * len(coordinates)
        table = {n: np.repeat(np.asarray(v, np.float64), copies, axis=0) if self._has_prompt(n)
                 else v for n, v in values.items()}  # fmt: skip
        steps = np.ones(len(coordinates))
        for k, (name, at) in enumerate(coordinates):
            if not self._has_prompt(name):
                continue
            steps[k] = _STEP * max(abs(float(values[name].reshape(-1)[at])), 1e-3)
            for row, sign in ((1 + 2 * k, 1.0), (2 + 2 * k, -1.0)):
                table[name].reshape(copies, -1)[row, at] += sign * steps[k]
        margins = np.array([one.margin for one in self._judged(table, copies)])
        change = (margins[1::2] - margins[2::2]) / (2 * steps)
        slopes = {name: np.zeros(v.size) for name, v in floating.items()}
        for (name, at), slope in zip(coordinates, change, strict=True):
            # Where a step leaves the body's domain there is no slope to follow.
            slopes[name][at] = slope if np.isfinite(slope) else 0.0
        return {name: slope.reshape(values[name].shape) for name, slope in slopes.items()}

    def _has_prompt(self, name: str) -> bool:
        return any(i.per_prompt for i in self._objective.recorded if i.name == name)

    def _judged(self, table: Mapping[str, NDArray[np.generic]], copies: int) -> list[Scored]:
        return self._objective.judge(table, [(k,) for k in range(copies)])

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
        order = gain.flatten().argsort(descending=True).tolist()
        made: dict[Ids, None] = {}
        for flat in order:
            row, at = divmod(flat, len(ids))
            child = (*ids[:at], int(token[row, at]), *ids[at + 1 :])
            if child != ids:
                made[child] = None
            if len(made) == count:
                break
        return list(made)


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
