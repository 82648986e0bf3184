"""What claims can ask for. Importing this package fills the registry and loads no torch."""

from __future__ import annotations

from refutable.observables import (
    attention,
    gain,
    logits,
    no_position,
    norm_ablation,
    residual,
    weights,
)
from refutable.observables.registry import REGISTRY, Observable, observable, recorded

__all__ = [
    "REGISTRY",
    "Observable",
    "attention",
    "gain",
    "logits",
    "no_position",
    "norm_ablation",
    "observable",
    "recorded",
    "residual",
    "weights",
]
