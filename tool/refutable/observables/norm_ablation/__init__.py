"""Observables of the norm-ablation study; general, and loads no torch."""

from __future__ import annotations

from refutable.observables.norm_ablation import attention, gradients, moments, text

__all__ = ["attention", "gradients", "moments", "text"]
