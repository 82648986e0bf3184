"""What recorders read: the vectors of a site and the logits of one pack, on the device."""

from __future__ import annotations

import torch

from refutable.capture.batch import Batch
from refutable.errors import InstrumentError


class TokenView:
    """One site's vectors in one pack; see `refutable.capture.recorder.Tokens`."""

    def __init__(self, value: torch.Tensor, batch: Batch) -> None:
        self.value = value
        self.pack = batch.pack
        self._batch = batch
        self._norms: torch.Tensor | None = None

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
            self._norms = torch.linalg.vector_norm(self.all(), dim=-1, dtype=torch.float32)
        return self._norms

    def by_prompt(self, per_token: torch.Tensor, fill: float = float("nan")) -> torch.Tensor:
        """Spread one number per token out: prompt, position."""
        return spread(per_token, self._batch.lengths, fill)


def spread(
    per_token: torch.Tensor, lengths: torch.Tensor, fill: float = float("nan")
) -> torch.Tensor:
    """Turn prompt-after-prompt numbers into (prompt, position), filled beyond a prompt's end."""
    steps = torch.arange(int(lengths.max()), device=lengths.device)
    inside = steps < lengths[:, None]
    out = per_token.new_full(inside.shape, fill)
    out[inside] = per_token
    return out


class LogitView:
    """Logits of one pack at the positions that were asked for."""

    def __init__(self, values: torch.Tensor, batch: Batch, *, everywhere: bool) -> None:
        self.pack = batch.pack
        self._batch = batch
        self._values = values
        self._everywhere = everywhere
        self._log_probs: torch.Tensor | None = None

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

    def log_probs(self) -> torch.Tensor:
        """Natural log of the next-token distribution after the last token: prompt, vocab."""
        if self._log_probs is None:
            self._log_probs = torch.log_softmax(self.last(), dim=-1)
        return self._log_probs

    def by_prompt(self, per_token: torch.Tensor, fill: float = float("nan")) -> torch.Tensor:
        """Spread one number per token out: prompt, position."""
        return spread(per_token, self._batch.lengths, fill)

    def input_ids(self) -> torch.Tensor:
        """Token ids, prompt after prompt: token."""
        return self._batch.inputs["input_ids"].reshape(-1).index_select(0, self._batch.tokens)
