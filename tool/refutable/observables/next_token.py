"""What a model says after every token: the head of the next-token distribution, and its loss.

Rows are tokens, prompt after prompt, without padding (`n_tokens` says how many each prompt has):
a distribution of 256 numbers a token is large, and padding would make it several times as large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.capture.recorder import ALL_LOGITS, Recorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.packing import Pack
    from refutable.capture.views import LogitView

RANKS = 256
"""Tokens that are kept of each distribution; the mass of all others is 1 minus theirs."""


class _EveryToken(Recorder):
    """A recorder that leaves one row for each token of a pack."""

    reads = (ALL_LOGITS,)
    _value: torch.Tensor

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Rows of the pack's tokens, prompt after prompt."""
        value = self._value
        del self._value
        return value


@observable(source="recorder", dims=("token", "rank"), per_prompt=True, unit="nats")
class NextTokenLogProbabilities(_EveryToken):
    """Log-probabilities of the 256 most probable next tokens after every token, falling."""

    name = "next_token_log_probabilities"

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Keep the head of each distribution."""
        self._value = view.top(RANKS).log_probability


@observable(source="recorder", dims=("token", "rank"), per_prompt=True, unit="token id")
class NextTokenIds(_EveryToken):
    """Ids of the 256 most probable next tokens after every token."""

    name = "next_token_ids"

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Keep which tokens they are."""
        import torch

        self._value = view.top(RANKS).token.to(torch.int32)


@observable(source="recorder", dims=("token",), per_prompt=True, unit="nats")
class OwnTokenLoss(_EveryToken):
    """Minus the log-probability of a prompt's own next token; NaN at its last token."""

    name = "own_token_loss"

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Look the prompt's own tokens up."""
        self._value = view.own_losses(view.top(RANKS).log_total)


@observable(source="recorder", dims=("token",), per_prompt=True, unit="token id")
class OwnTokens(_EveryToken):
    """Ids of the prompts' own tokens, a BOS token included."""

    name = "own_tokens"

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Keep what was read."""
        import torch

        self._value = view.input_ids().to(torch.int32)
