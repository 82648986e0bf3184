"""Observables of the no-position study, measured on its trained seeds; loads no torch."""

from __future__ import annotations

from refutable.observables.no_position import activations, training, weights

__all__ = ["activations", "training", "weights"]
