"""Hypothesis strategies for prompts: an ordinary Hypothesis test on a model in ten lines.

>>> from hypothesis import given
>>> from refutable import strategies as prompts_from
>>> @prompts_from.profile
... @given(prompts_from.token_ids("tiny-layernorm", min_size=2, max_size=6))
... def test_mine(ids):
...     assert len(ids) >= 2
"""

from __future__ import annotations

from refutable.falsify.strategies import edits_of, profile, prompts, sentences, token_ids

__all__ = ["edits_of", "profile", "prompts", "sentences", "token_ids"]
