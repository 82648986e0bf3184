"""What each block adds to the stream, and how far it turns it: profiles over depth.

The first token is left out: it carries the attention sink, and its norms are of another order.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar

from refutable.capture.recorder import ATTN_OUT, MLP_OUT, RESID_POST, RESID_PRE, BlockRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Tokens


class _ByToken(BlockRecorder, ABC):
    """Keeps a number a token and block; its mean over tokens t >= 1 of each prompt."""

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Average over tokens: (prompt, layer); NaN for a prompt of one token."""
        per_token = super().take(pack, blocks)
        return self._view.by_prompt(per_token.T)[..., 1:].nanmean(-1).T

    def see(self, layer: int, values: torch.Tensor, view: Tokens) -> None:
        """Remember a number for each token of a block."""
        self.keep(layer, values)
        self._view = view


class _Added(_ByToken):
    """Log norm of what one sublayer adds."""

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number a token; a sublayer that adds nothing counts as very little."""
        self.see(layer, view.norms().clamp_min(1e-30).log(), view)


@observable(source="recorder", dims=("prompt", "layer"), unit="log norm")
class AttentionAdds(_Added):
    """Mean over tokens t >= 1 of the log norm of what attention adds to the stream, per block."""

    name: ClassVar[str] = "attention_adds"
    reads = (ATTN_OUT,)


@observable(source="recorder", dims=("prompt", "layer"), unit="log norm")
class FeedForwardAdds(_Added):
    """Mean over tokens t >= 1 of the log norm of what the feed-forward adds, per block."""

    name: ClassVar[str] = "feed_forward_adds"
    reads = (MLP_OUT,)


@observable(source="recorder", dims=("prompt", "layer"), unit="radians")
class BlockAngle(_ByToken):
    """Mean over tokens t >= 1 of the angle between a block's input and what it hands on."""

    name = "block_angle"
    reads = (RESID_PRE, RESID_POST)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Keep the input, then hold the output against it."""
        import torch

        if site == RESID_PRE:
            # A model may change its stream in place.
            self._before = torch.nn.functional.normalize(view.all().float(), dim=-1)
            return
        after = torch.nn.functional.normalize(view.all().float(), dim=-1)
        # Of unit vectors; as exact for small angles as for large ones.
        half = torch.linalg.vector_norm(after - self._before, dim=-1) / 2
        self.see(layer, 2 * torch.asin(half.clamp(max=1.0)), view)
        del self._before
