"""What weights show without running the model: counts, distributions, positions, heads, spectra."""

from __future__ import annotations

from refutable.observables.weights.depth import (
    depth_correlation,
    depth_difference,
    log_depth_ratio,
    rank_above,
    rank_among,
    rank_below,
)

__all__ = [
    "depth_correlation",
    "depth_difference",
    "log_depth_ratio",
    "rank_above",
    "rank_among",
    "rank_below",
]
