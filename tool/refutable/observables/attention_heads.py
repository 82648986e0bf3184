"""Attention entropy without the sink, and how different the heads of a block are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.capture.recorder import AttentionRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.recorder import Patterns


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="share of ln(t)")
class AttentionEntropyRest(AttentionRecorder):
    """Mean over rows t >= 2 of the entropy over keys k >= 1, as a share of its maximum ln(t).

    Notes
    -----
    The first token carries the attention sink. It is left out and the rest of a row made to sum
    to 1; a row that gives the first token everything counts as entropy 0. Prompts of fewer than
    three tokens give NaN.
    """

    name = "attention_entropy_rest"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of H(A[t, 1:] / (1 - A[t, 0])) / ln(t)."""
        import torch

        rest = view.pattern[..., 1:]
        # The smallest normal number keeps 0 / 0 out and changes no other row.
        rest = rest / rest.sum(-1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
        entropy = torch.special.entr(rest).sum(-1)
        most = torch.arange(entropy.shape[-1], device=entropy.device, dtype=entropy.dtype).log()
        share = entropy / most
        share[..., :2] = 0.0
        rows = (view.lengths - 1).to(share.dtype)[:, None]
        # row_mean divides by the rows t >= 1, one more than there are here.
        return view.row_mean(share) * torch.where(rows > 1, rows / (rows - 1), torch.nan)


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="sqrt(bit)")
class AttentionHeadDistance(AttentionRecorder):
    """Mean over rows t >= 1 and over the block's other heads of the Jensen-Shannon distance.

    Notes
    -----
    The distance is the square root of the divergence with logarithms to base 2: 0 for equal
    patterns, 1 for disjoint ones. Its mean over heads is the mean over pairs of heads.
    """

    name = "attention_head_distance"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of JSD(A_h[t], A_g[t]) ** .5 over g other than h."""
        import math

        import torch

        pattern = view.pattern
        heads = pattern.shape[1]
        entropy = torch.special.entr(pattern).sum(-1)
        total = torch.zeros_like(entropy)
        for shift in range(1, heads):
            other = pattern.roll(shift, dims=1)
            mixed = torch.special.entr((pattern + other) / 2).sum(-1)
            divergence = mixed - (entropy + entropy.roll(shift, dims=1)) / 2
            total += (divergence / math.log(2)).clamp_min(0).sqrt()
        if heads == 1:
            return view.row_mean(torch.full_like(entropy, torch.nan))
        return view.row_mean(total / (heads - 1))
