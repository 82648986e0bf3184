"""Rotated copies of a wide block are made one at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from transformers import LlamaConfig

from refutable.observables.weights.reading import WeightReader
from refutable.observables.weights.tables_heads import head_clustering

WIDE = 512


@pytest.mark.slow
def test_rotated_copies_take_the_room_of_a_few_matrices() -> None:
    config = LlamaConfig(
        hidden_size=WIDE, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8,
        vocab_size=32, tie_word_embeddings=True,
    )  # fmt: skip
    reader = WeightReader.from_state_dict({}, config).untrained(0)
    matrix = WIDE * WIDE * 4
    head_clustering(reader.at((0,)))  # imports
    tracemalloc.start()
    found = head_clustering(reader.at((0,)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(found.sel(tree="cophenetic")).all()
    # The block's four matrices, a copy's four, and what one rotation needs; 19 copies are 76.
    assert peak < 20 * matrix
