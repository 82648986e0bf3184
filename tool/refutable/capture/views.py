"""What recorders read: the vectors of a site and the logits of one pack, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from refutable.capture.batch import Batch
from refutable.errors import InstrumentError

# Numbers that a processor's cache holds, and a logit below which a probability is 0 in float32.
_CACHED = 1 << 18
_LOWEST = -1e4


class TokenView:
    """One site's vectors in one pack; see `refutable.capture.recorder.Tokens`."""

    def __init__(self, value: torch.Tensor, batch: Batch) -> None:
        self.value = value
        self.pack = batch.pack
        self._batch = batch
        self._norms: torch.Tensor | None = None

    def kept(self) -> TokenView:
        """Return a view of a copy: a model may change its stream in place."""
        return TokenView(self.value.clone(), self._batch)

    def last(self) -> torch.Tensor:
        """Vectors of each prompt's last token: prompt, dim."""
        return self.value.reshape(-1, self.value.shape[-1]).index_select(0, self._batch.last)

    def all(self) -> torch.Tensor:
        """Vectors of all tokens, prompt after prompt: token, dim."""
        flat = self.value.reshape(-1, self.value.shape[-1])
        return flat if self._batch.contiguous else flat.index_select(0, self._batch.tokens)

    def norms(self) -> torch.Tensor:
        """Euclidean norms of all tokens in float32: token. Several recorders share them."""
        if self._norms is None:
            # Of prompts that share tokens each position is reduced once and then read many times.
            every = torch.linalg.vector_norm(self.value, dim=-1, dtype=torch.float32).reshape(-1)
            contiguous = self._batch.contiguous
            self._norms = every if contiguous else every.index_select(0, self._batch.tokens)
        return self._norms

    def by_prompt(self, per_token: torch.Tensor) -> torch.Tensor:
        """Spread numbers per token out: (..., token) to (..., prompt, position), NaN beyond."""
        return spread(per_token, self._batch)


def spread(per_token: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Turn prompt-after-prompt numbers into (..., prompt, position), NaN beyond a prompt's end."""
    return per_token[..., batch.grid].masked_fill(batch.outside, float("nan"))


@dataclass(frozen=True, slots=True)
class NextToken:
    """Next-token distributions after the last tokens of the prompts of a pack."""

    entropy: torch.Tensor
    """In nats: prompt."""
    top_probability: torch.Tensor
    top_token: torch.Tensor


def _next_token(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Entropy, largest probability and its token, from logits (prompt, vocab) in float32.

    With d = logit - max and z = sum exp d, the entropy is ln z - sum(d exp d) / z.
    """
    highest, token = logits.max(-1)
    below = logits - highest[:, None]
    weights = below.exp()
    total = weights.sum(-1)
    # A token that the model rules out (-inf) adds 0, not 0 * -inf.
    below.clamp_(min=_LOWEST)
    # A batched product would add up a vocabulary in order: off by 2e-3 nats at 256,000 tokens.
    mean = (weights * below).sum(-1) / total
    return total.log() - mean, total.reciprocal(), token


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The most probable next tokens after every token of a pack."""

    log_probability: torch.Tensor
    """In nats, falling: token, rank."""
    token: torch.Tensor
    """Their ids: token, rank."""
    log_total: torch.Tensor
    """Log of the sum of exp logit, which makes a log-probability of a logit: token."""


def _top(logits: torch.Tensor, ranks: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    values = logits.float()
    total = torch.logsumexp(values, dim=-1)
    best = values.topk(ranks, dim=-1)
    return best.values - total[:, None], best.indices, total


class LogitView:
    """Logits of one pack at the positions that were asked for."""

    def __init__(self, values: torch.Tensor, batch: Batch, *, everywhere: bool) -> None:
        self.pack = batch.pack
        self._batch = batch
        self._values = values
        self._everywhere = everywhere
        self._next: NextToken | None = None
        self._best: dict[int, TopTokens] = {}

    def last(self) -> torch.Tensor:
        """Logits after each prompt's last token, in float32: prompt, vocab."""
        if not self._everywhere:
            return self._values.float()
        ends = torch.cumsum(self._batch.lengths, 0) - 1
        return self._values.index_select(0, ends).float()

    def all(self) -> torch.Tensor:
        """Logits after every token, prompt after prompt: token, vocab; `ALL_LOGITS` alone."""
        if not self._everywhere:
            raise InstrumentError("logits at every token were not asked for: read 'logits:all'")
        return self._values

    def next_token(self) -> NextToken:
        """Summarise the next-token distributions; several recorders share the result."""
        if self._next is None:
            logits = self.last()
            rows = logits.shape[0]
            if logits.device.type == "cpu":
                # A few rows at a time stay in the processor's cache, which is twice as fast.
                rows = max(1, _CACHED // logits.shape[1])
            parts = [_next_token(chunk) for chunk in logits.split(rows)]
            self._next = NextToken(*(torch.cat(column) for column in zip(*parts, strict=True)))
        return self._next

    def top(self, ranks: int) -> TopTokens:
        """Return the most probable tokens after every token; several recorders share them.

        Parameters
        ----------
        ranks : int
            How many; all where the vocabulary is smaller.
        """
        if ranks not in self._best:
            logits = self.all()
            most = min(ranks, logits.shape[-1])
            rows = max(1, _CACHED // logits.shape[-1]) if logits.device.type == "cpu" else 1 << 10
            parts = [_top(chunk, most) for chunk in logits.split(rows)]
            self._best[ranks] = TopTokens(*(torch.cat(c) for c in zip(*parts, strict=True)))
        return self._best[ranks]

    def own_losses(self, log_total: torch.Tensor) -> torch.Tensor:
        """Minus the log-probability of each prompt's own next token; NaN at its last one: token."""
        ids = self.input_ids()
        following = torch.roll(ids, -1)
        of_next = self.all().gather(-1, following[:, None])[:, 0].float()
        losses = log_total - of_next
        losses[torch.cumsum(self._batch.lengths, 0) - 1] = float("nan")
        return losses

    def by_prompt(self, per_token: torch.Tensor) -> torch.Tensor:
        """Spread numbers per token out: (..., token) to (..., prompt, position), NaN beyond."""
        return spread(per_token, self._batch)

    def input_ids(self) -> torch.Tensor:
        """Token ids, prompt after prompt: token."""
        return self._batch.inputs["input_ids"].reshape(-1).index_select(0, self._batch.tokens)
