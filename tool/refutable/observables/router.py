"""The router of a mixture of experts, in the blocks that have one (NaN in the others)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.capture.recorder import ROUTER, BlockRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    from refutable.capture.recorder import Tokens


@observable(source="recorder", dims=("prompt", "layer"), unit="share of ln(experts)")
class RouterEntropy(BlockRecorder):
    """Entropy of the softmax of the router's logits at the last token, as a share of its maximum.

    Where a model turns its logits into weights in another way (sigmoids, groups, a correction), it
    is still the softmax that is measured: one measure for all mixtures.
    """

    name = "router_entropy"
    reads = (ROUTER,)
    some_blocks = True

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number per prompt."""
        import math

        import torch

        chances = view.last().float().softmax(-1)
        entropy = torch.special.entr(chances).sum(-1)
        self.keep(layer, entropy / math.log(chances.shape[-1]))


@observable(source="recorder", dims=("prompt", "layer", "expert"), unit="share of tokens")
class ExpertLoad(BlockRecorder):
    """Share of a prompt's tokens whose largest router logit is each expert's, per block."""

    name = "expert_load"
    reads = (ROUTER,)
    some_blocks = True

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one share per prompt and expert."""
        import torch

        logits = view.all().float()
        first = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        # (expert, prompt, position), NaN beyond a prompt's end.
        self.keep(layer, view.by_prompt(first.T).nanmean(-1).T)
