"""Directions and single dimensions of the residual stream, block by block.

Each observable has a companion that looks at the same states where there is nothing to find.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from refutable.capture.recorder import PATTERN, RESID_POST, AttentionRecorder, BlockRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.recorder import Patterns, Tokens

TOP = 3
"""Dimensions that count as the largest contributors to a cosine."""
_SEED = 20_240_711


class _Direction(BlockRecorder, ABC):
    """Mean absolute cosine of a prompt's states with one direction, times the root of the width."""

    reads = (RESID_POST,)

    @abstractmethod
    def direction(self, size: int) -> torch.Tensor:
        """Return the direction, of entries 1 and -1."""

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number a prompt."""
        states = view.all().float()
        along = states @ self.direction(states.shape[-1]).to(states)
        cosine = (along / view.norms()).abs()
        self.keep(layer, view.by_prompt(cosine).nanmean(-1))


@observable(source="recorder", dims=("prompt", "layer"), unit="abs cosine x root of width")
class OnesCosine(_Direction):
    """Mean absolute cosine of the states with the all-ones direction, times the root of width."""

    name: ClassVar[str] = "ones_cosine"

    def direction(self, size: int) -> torch.Tensor:
        """All ones: what LayerNorm removes and RMSNorm keeps."""
        import torch

        return torch.ones(size)


@observable(source="recorder", dims=("prompt", "layer"), unit="abs cosine x root of width")
class SignsCosine(_Direction):
    """As `ones_cosine`, with a fixed direction of random signs."""

    name: ClassVar[str] = "signs_cosine"

    def direction(self, size: int) -> torch.Tensor:
        """Fixed random signs."""
        import torch

        drawn = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(_SEED))
        return 2.0 * drawn - 1.0


@observable(source="recorder", dims=("prompt", "layer"), unit="log10 ratio")
class LargestToMedian(BlockRecorder):
    """Log10 of the largest absolute entry of a prompt's states over their median one."""

    name = "largest_to_median"
    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number a prompt."""
        size = view.all().float().abs()
        ratio = size.amax(-1) / size.median(-1).values.clamp_min(1e-30)
        self.keep(layer, view.by_prompt(ratio).nan_to_num(0.0).amax(-1).log10())


@observable(source="recorder", dims=("prompt", "layer"), unit="log10 ratio")
class TenthToMedian(BlockRecorder):
    """As `largest_to_median`, with the entry that a tenth of all exceed."""

    name = "tenth_to_median"
    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number a prompt."""
        size = view.all().float().abs()
        ratio = size.quantile(0.9, dim=-1) / size.median(-1).values.clamp_min(1e-30)
        self.keep(layer, view.by_prompt(ratio).nan_to_num(0.0).amax(-1).log10())


class _CosineShare(BlockRecorder, ABC):
    """Share of the expected cosine of two tokens of a prompt that a few dimensions make."""

    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one number a prompt; NaN for prompts of one token."""
        import torch

        unit = view.all().float() / view.norms()[:, None].clamp_min(1e-30)
        lengths = torch.tensor([s.length for s in view.pack.segments], device=unit.device)
        of = torch.repeat_interleave(torch.arange(len(lengths), device=unit.device), lengths)
        empty = torch.zeros(len(lengths), unit.shape[1], device=unit.device)
        total = empty.index_add(0, of, unit)
        alone = empty.index_add(0, of, unit**2)
        # Over pairs of different tokens: contributions of the dimensions add up to the cosine.
        parts = (total**2 - alone) / (lengths * (lengths - 1)).clamp_min(1)[:, None]
        share = self.pick(parts) / parts.sum(-1)
        self.keep(layer, share.masked_fill(lengths < 2, float("nan")))

    @abstractmethod
    def pick(self, parts: torch.Tensor) -> torch.Tensor:
        """Add the contributions of the chosen dimensions up: (prompt, dim) to (prompt,)."""


@observable(source="recorder", dims=("prompt", "layer"), unit="share")
class TopCosineShare(_CosineShare):
    """Share of the expected cosine of two tokens that the three largest dimensions make."""

    name: ClassVar[str] = "top_cosine_share"

    def pick(self, parts: torch.Tensor) -> torch.Tensor:
        """Take the largest."""
        top: torch.Tensor = parts.topk(min(TOP, parts.shape[-1]), dim=-1).values.sum(-1)
        return top


@observable(source="recorder", dims=("prompt", "layer"), unit="share")
class FirstCosineShare(_CosineShare):
    """As `top_cosine_share`, with the first three dimensions whatever they are."""

    name: ClassVar[str] = "first_cosine_share"

    def pick(self, parts: torch.Tensor) -> torch.Tensor:
        """Take the first."""
        return parts[:, :TOP].sum(-1)


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="share")
class AttentionMiddle(AttentionRecorder):
    """Mean over rows t >= 1 of the attention paid to the key in the middle."""

    name = "attention_middle"
    reads = (PATTERN,)

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Mean of A[t, t // 2 + 1], or of the last key in row 1."""
        import torch

        size = view.pattern.shape[-1]
        rows = torch.arange(size, device=view.pattern.device)
        keys = torch.minimum(rows // 2 + 1, rows)
        return view.row_mean(view.pattern[:, :, rows, keys])
