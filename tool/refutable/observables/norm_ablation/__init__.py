"""Observables of the norm-ablation study; general, and loads no torch."""

from __future__ import annotations

from refutable.observables.norm_ablation import (
    attention,
    gradients,
    landscape,
    moments,
    similarity,
    speed,
    syntax,
    text,
)

__all__ = [
    "attention",
    "gradients",
    "landscape",
    "moments",
    "similarity",
    "speed",
    "syntax",
    "text",
]
