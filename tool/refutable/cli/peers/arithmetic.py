"""What every contender computes from the tensors that it gets: the same few lines for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

ByName = dict[str, torch.Tensor]
"""``residual_norm`` (prompt, block), ``next_token_entropy`` (prompt,), and where patterns are asked
for ``attention_entropy``, ``attention_first``, ``attention_previous`` (prompt, block, head)."""


@dataclass(frozen=True, slots=True)
class Padded:
    """Prompts as the rows of a batch."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    start: torch.Tensor
    """Where each prompt begins."""
    length: torch.Tensor
    """Tokens of each prompt."""

    @property
    def last(self) -> torch.Tensor:
        """Where each prompt ends."""
        return self.start + self.length - 1

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What a model of transformers takes."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": self.positions,
        }


def padded(prompts: Sequence[Sequence[int]], device: str, *, left: bool) -> Padded:
    """Lay prompts side by side, padded with token 0 at one end."""
    length = torch.tensor([len(ids) for ids in prompts])
    width = int(length.max())
    start = width - length if left else torch.zeros_like(length)
    at = torch.arange(width)[None] - start[:, None]
    inside = (at >= 0) & (at < length[:, None])
    ids = torch.zeros(len(length), width, dtype=torch.long)
    ids[inside] = torch.tensor([i for row_ids in prompts for i in row_ids])
    made = (ids, inside.long(), at.clamp(min=0), start, length)
    return Padded(*(tensor.to(device) for tensor in made))


def entropy_of(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the distribution that each row of logits states."""
    log = torch.log_softmax(logits.float(), -1)
    return -(log.exp() * log).sum(-1)


def last_norms(streams: Sequence[torch.Tensor], batch: Padded) -> torch.Tensor:
    """Norm of each stream at each prompt's last token, (prompt, block)."""
    rows = torch.arange(len(batch.length), device=batch.ids.device)
    return torch.stack([stream[rows, batch.last].float().norm(dim=-1) for stream in streams], 1)


def summaries(patterns: Sequence[torch.Tensor], batch: Padded) -> ByName:
    """Summarise patterns (prompt, head, query, key) over the rows t >= 1 of each prompt."""
    width = batch.ids.shape[1]
    at = torch.arange(width, device=batch.ids.device)[None] - batch.start[:, None]
    rows = (at >= 1) & (at < batch.length[:, None])
    weights = torch.where(rows, 1.0 / (batch.length[:, None] - 1), torch.zeros(()))
    most = torch.where(rows, (at + 1).clamp(min=1).log(), torch.ones(()))
    first = batch.start[:, None, None, None].expand(-1, 1, width, 1)
    by_name: dict[str, list[torch.Tensor]] = {}
    for pattern in patterns:
        kept_rows = torch.where(rows[:, None, :, None], pattern.float(), torch.zeros(()))
        entropy = torch.special.entr(kept_rows).sum(-1) / most[:, None]
        previous = kept_rows.diagonal(offset=-1, dim1=-2, dim2=-1)
        for name, values in (
            ("attention_entropy", entropy),
            (
                "attention_first",
                kept_rows.gather(-1, first.expand(-1, kept_rows.shape[1], -1, -1))[..., 0],
            ),
            ("attention_previous", torch.nn.functional.pad(previous, (1, 0))),
        ):
            mean = torch.einsum("phq,pq->ph", values, weights)
            by_name.setdefault(name, []).append(mean)
    return {name: torch.stack(values, 1) for name, values in by_name.items()}
