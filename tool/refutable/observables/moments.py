"""Moments of the residual stream after each block, over the dims of a token.

The first token is left out: it carries the attention sink, and its moments are of another order.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from refutable.capture.recorder import RESID_POST, BlockRecorder
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Tokens


class _TokenMoment(BlockRecorder):
    """Keeps a number per token and block, and averages it over tokens t >= 1 of each prompt."""

    reads = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Reduce every token's vector to a number."""
        vectors = view.all().float()
        self.keep(layer, self.moment(vectors - vectors.mean(-1, keepdim=True), vectors))
        self._view = view

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Average over tokens: (prompt, layer); NaN for a prompt of one token."""
        per_token = super().take(pack, blocks)
        return self._view.by_prompt(per_token.T)[..., 1:].nanmean(-1).T

    @abstractmethod
    def moment(self, centred: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Reduce (token, dim) to (token)."""


@observable(
    source="recorder", dims=("prompt", "layer"), unit="", recorded_with="residual_log_variance"
)
class ResidualMean(_TokenMoment):
    """Mean over tokens t >= 1 of the mean over dims of the residual stream after each block."""

    name = "residual_mean"

    def moment(self, centred: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Mean over dims."""
        return vectors.mean(-1)


@observable(source="recorder", dims=("prompt", "layer"), unit="log variance")
class ResidualLogVariance(_TokenMoment):
    """Mean over tokens t >= 1 of the log of the variance over dims, after each block."""

    name = "residual_log_variance"

    def moment(self, centred: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Log of the population variance over dims."""
        return centred.square().mean(-1).log()


@observable(
    source="recorder", dims=("prompt", "layer"), unit="", recorded_with="residual_log_variance"
)
class ResidualSkewness(_TokenMoment):
    """Mean over tokens t >= 1 of the skewness over dims of the residual stream."""

    name = "residual_skewness"

    def moment(self, centred: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Third standardized moment."""
        return centred.pow(3).mean(-1) / centred.square().mean(-1).pow(1.5)


@observable(source="recorder", dims=("prompt", "layer"), unit="")
class ResidualExcessKurtosis(_TokenMoment):
    """Mean over tokens t >= 1 of the excess kurtosis over dims of the residual stream."""

    name = "residual_excess_kurtosis"

    def moment(self, centred: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Fourth standardized moment, less the 3 of a normal distribution."""
        return centred.pow(4).mean(-1) / centred.square().mean(-1).square() - 3.0


@observable(dims=("prompt",), unit="log variance per block")
def log_variance_slope(residual_log_variance: xr.DataArray) -> xr.DataArray:
    """Least-squares slope over the blocks of the residual stream's log variance."""
    layer = residual_log_variance["layer"].astype(float)
    centred = layer - layer.mean()
    return (residual_log_variance * centred).sum("layer") / (centred**2).sum()
