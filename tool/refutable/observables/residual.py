"""Norms of the residual stream, before the final norm.

``hidden_states[-1]`` of transformers lies *after* the final norm; these are read at the blocks.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from refutable.capture.recorder import EMBED, RESID_POST, BlockRecorder, Recorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Tokens


@observable(source="recorder", dims=("prompt", "layer"), unit="norm")
class ResidualNorm(BlockRecorder):
    """Norm of the last token's residual stream after each block, before the final norm."""

    name = "residual_norm"
    finite = True
    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one norm per prompt."""
        import torch

        self.keep(layer, torch.linalg.vector_norm(view.last(), dim=-1, dtype=torch.float32))


class _TokenNorms(BlockRecorder):
    """Keeps every token's norm per block and reduces them once, when the pack has run."""

    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Keep one norm per token."""
        self.keep(layer, view.norms())
        self._view = view

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Reduce the norms (prompt, layer, position; NaN beyond a prompt's end)."""
        per_token = super().take(pack, blocks)
        return self.reduce(self._view.by_prompt(per_token.T).transpose(0, 1))

    @abstractmethod
    def reduce(self, norms: torch.Tensor) -> torch.Tensor:
        """Reduce (prompt, layer, position)."""


@observable(source="recorder", dims=("prompt", "layer", "position"), unit="norm")
class ResidualNormTokens(_TokenNorms):
    """Norm of every token's residual stream after each block; NaN beyond a prompt's end."""

    name = "residual_norm_tokens"
    finite = True

    def reduce(self, norms: torch.Tensor) -> torch.Tensor:
        """Leave them as they are."""
        return norms


@observable(source="recorder", dims=("prompt", "layer"), unit="log norm")
class MeanLogResidualNorm(_TokenNorms):
    """Mean over a prompt's tokens of the natural log of the residual stream's norm, per block."""

    name = "mean_log_residual_norm"

    def reduce(self, norms: torch.Tensor) -> torch.Tensor:
        """Mean over positions."""
        return norms.log().nanmean(-1)


@observable(source="recorder", dims=("prompt", "layer"), unit="log norm")
class MeanLogResidualNormRest(_TokenNorms):
    """As `mean_log_residual_norm`, without position 0; NaN for prompts of one token."""

    name = "mean_log_residual_norm_rest"

    def reduce(self, norms: torch.Tensor) -> torch.Tensor:
        """Mean over positions but the first, whose norm an attention sink can inflate."""
        return norms[..., 1:].log().nanmean(-1)


@observable(source="recorder", dims=("prompt",), unit="norm")
class EmbeddingNorm(Recorder):
    """Euclidean norm of the last token's residual stream as it enters the first block."""

    name = "embedding_norm"
    finite = True
    reads = (EMBED,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce to one norm per prompt."""
        import torch

        self._norm: torch.Tensor = torch.linalg.vector_norm(
            view.last(), dim=-1, dtype=torch.float32
        )

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """One norm per prompt."""
        return self._norm


@observable(source="recorder", dims=("prompt",), unit="tokens")
class NTokens(Recorder):
    """Number of tokens of a prompt, a BOS token included."""

    name = "n_tokens"

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """One count per prompt."""
        import torch

        return torch.tensor([segment.length for segment in pack.segments])


@observable(source="recorder", dims=(), unit="blocks")
class NBlocks(Recorder):
    """Number of blocks that ran in a forward pass."""

    name = "n_blocks"
    reads = (RESID_POST,)

    def __init__(self) -> None:
        self._layers: set[int] = set()

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Count the block."""
        self._layers.add(layer)

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Blocks seen in this pass."""
        import torch

        layers, self._layers = self._layers, set()
        return torch.tensor(len(layers))
