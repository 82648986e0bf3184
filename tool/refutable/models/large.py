"""Models so large that what illustrates or controls is measured on less text."""

from __future__ import annotations

from refutable.records import ModelFacts

LARGE = 20_000_000
"""Parameters above which experiments read less, and null controls read some of the prompts."""
ECONOMY = 3
"""Version of what is read less of large models; raise it when that changes."""


def is_large(facts: ModelFacts) -> bool:
    """Whether a model counts as large; one of unknown size does not."""
    return getattr(facts, "parameters", 0) > LARGE
