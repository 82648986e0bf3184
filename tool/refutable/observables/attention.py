"""Summaries of attention patterns, per head and block, over the rows t >= 1 of a prompt.

Row 0 can attend to itself alone, so it says nothing; a prompt of one token gives NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.capture.recorder import AttentionRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.recorder import Patterns

_ROUNDING = 1e-5
"""How far from 1 rounding leaves the sum of a row in float32; in half precision it is made 1."""


@observable(
    source="recorder", dims=("prompt", "layer", "head"), unit="share of ln(t + 1)", version=2
)
class AttentionEntropy(AttentionRecorder):
    """Mean over rows t >= 1 of the attention row's entropy, as a share of its maximum ln(t + 1).

    Rows of a model with attention sinks sum to less than 1: they are made to sum to 1, so that it
    is the entropy of what goes to tokens.
    """

    name = "attention_entropy"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of H(A[t]) / ln(t + 1)."""
        import torch

        entropy = torch.special.entr(view.pattern).sum(-1)
        total = view.pattern.sum(-1)
        # With s the sum of a row, the entropy of row / s is H / s + ln s.
        partial = ((total - 1).abs() > _ROUNDING) & (total > 0)
        if bool(partial.any()):
            entropy = torch.where(partial, entropy / total + total.log(), entropy)
        most = torch.arange(1, entropy.shape[-1] + 1, device=entropy.device).log()
        most[0] = 1.0  # row 0 has weight 0; this only keeps 0 / 0 out
        return view.row_mean(entropy / most)


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="share")
class AttentionFirst(AttentionRecorder):
    """Mean over rows t >= 1 of the attention paid to the first token."""

    name = "attention_first"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of A[t, 0]."""
        return view.row_mean(view.pattern[..., 0])


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="share")
class AttentionPrevious(AttentionRecorder):
    """Mean over rows t >= 1 of the attention paid to the previous token."""

    name = "attention_previous"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of A[t, t - 1]."""
        import torch

        previous = view.pattern.diagonal(offset=-1, dim1=-2, dim2=-1)
        return view.row_mean(torch.nn.functional.pad(previous, (1, 0)))
