"""Observables of the norm-ablation study; general, and loads no torch."""

from __future__ import annotations

from refutable.observables.norm_ablation import (
    attention,
    equal_loss,
    gradients,
    kernels,
    landscape,
    moments,
    probes,
    similarity,
    speed,
    syntax,
    text,
)

__all__ = [
    "attention",
    "equal_loss",
    "gradients",
    "kernels",
    "landscape",
    "moments",
    "probes",
    "similarity",
    "speed",
    "syntax",
    "text",
]
