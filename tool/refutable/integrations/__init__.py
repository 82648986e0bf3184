"""Measuring while a model is trained: a callback for transformers' Trainer, a call for any loop."""

from refutable.integrations.reading import Reading, take_reading
from refutable.integrations.trainer import ClaimCallback

__all__ = ["ClaimCallback", "Reading", "take_reading"]
