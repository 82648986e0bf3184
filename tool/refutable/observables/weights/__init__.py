"""What weights show without running the model: counts, distributions, positions, heads, spectra."""

from __future__ import annotations

from refutable.observables.weights import maps, tables, tables_heads, tables_positions, views
from refutable.observables.weights.depth import (
    depth_correlation,
    depth_difference,
    log_depth_ratio,
    rank_above,
    rank_among,
    rank_below,
)
from refutable.observables.weights.register import weight_observable

__all__ = [
    "depth_correlation",
    "depth_difference",
    "log_depth_ratio",
    "maps",
    "rank_above",
    "rank_among",
    "rank_below",
    "tables",
    "tables_heads",
    "tables_positions",
    "views",
    "weight_observable",
]
