"""The next-token distribution after a prompt."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from refutable.capture.recorder import LOGITS, Recorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.packing import Pack
    from refutable.capture.views import LogitView


class _LastLogits(Recorder):
    """A recorder that reduces the logits after the last token to one number per prompt."""

    reads = (LOGITS,)

    @abstractmethod
    def reduce(self, view: LogitView) -> torch.Tensor:
        """Reduce to one number per prompt."""

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Reduce the pack's logits."""
        self._value: torch.Tensor = self.reduce(view)

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """One number per prompt."""
        return self._value


@observable(source="recorder", dims=("prompt",), unit="nats", version=2)
class NextTokenEntropy(_LastLogits):
    """Entropy of the next-token distribution after the last token, in nats."""

    name = "next_token_entropy"
    finite = True

    def reduce(self, view: LogitView) -> torch.Tensor:
        """Minus the sum of p ln p."""
        return view.next_token().entropy


@observable(source="recorder", dims=("prompt",), unit="probability")
class TopProbability(_LastLogits):
    """Probability of the most probable next token."""

    name = "top_probability"
    finite = True

    def reduce(self, view: LogitView) -> torch.Tensor:
        """Largest probability."""
        return view.next_token().top_probability


@observable(source="recorder", dims=("prompt",), unit="token id")
class TopToken(_LastLogits):
    """Id of the most probable next token."""

    name = "top_token"

    def reduce(self, view: LogitView) -> torch.Tensor:
        """Where the largest logit is."""
        return view.next_token().top_token
