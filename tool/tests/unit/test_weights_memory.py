"""Copies of a wide block are made one at a time, and looked at a matrix at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from transformers import LlamaConfig

from refutable.models.weights.reading import WeightReader
from refutable.observables.weights.tables_heads import head_clustering
from refutable.observables.weights.views import BLOCK_VIEWS
from refutable.observables.weights.views import _views as views

WIDE = 512


def reader_of_one_block() -> WeightReader:
    config = LlamaConfig(
        hidden_size=WIDE, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8,
        vocab_size=32, tie_word_embeddings=True,
    )  # fmt: skip
    return WeightReader.from_state_dict({}, config).untrained(0).at((0,))


def test_a_look_at_an_untrained_copy_takes_the_room_of_a_few_matrices() -> None:
    reader = reader_of_one_block()
    views(reader.untrained(1))  # imports
    copy = reader.untrained(2)
    # The part of the block that a copy holds is torch's memory, which is not traced.
    copy.matrix(0, "q")
    tracemalloc.start()
    looked = views(copy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(looked[: len(BLOCK_VIEWS)]).all()
    # The Gram matrix in float64 is two, and its decomposition works on it where it lies; three
    # matrices laid side by side and their Gram matrix twice over would be seventeen.
    assert peak < 8 * WIDE * WIDE * 4


@pytest.mark.slow
def test_rotated_copies_take_the_room_of_a_few_matrices() -> None:
    reader = reader_of_one_block()
    matrix = WIDE * WIDE * 4
    head_clustering(reader)  # imports
    tracemalloc.start()
    values = head_clustering(reader)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(values.sel(tree="cophenetic")).all()
    # The block's four matrices, the two of a copy's operator and their Gram matrices; 19 copies at
    # once are 76.
    assert peak < 12 * matrix
