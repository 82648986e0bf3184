"""Building models and drawing untrained weights from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from transformers import GPT2Config

from refutable.models.weights.fresh import FreshTensors
from refutable.models.weights.roles import meta_model


def test_building_half_precision_models_side_by_side_keeps_the_default_type() -> None:
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=6, n_head=2)
    config.dtype = torch.float16
    before = torch.get_default_dtype()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: meta_model(config), range(24)))
    assert torch.get_default_dtype() is before
    assert {p.dtype for model in made for p in model.parameters()} == {torch.float32}


def test_threads_that_share_a_copy_read_its_own_tensors() -> None:
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    names = [f"transformer.h.{i}.{part}" for i in (0, 1) for part in ("attn.c_attn", "mlp.c_fc")]
    alone = FreshTensors(meta_model(config), 3)
    expected = {name: alone.flat(f"{name}.weight", 0, 200).copy() for name in names}
    assert len({values.tobytes() for values in expected.values()}) == 4
    shared = FreshTensors(meta_model(config), 3)
    asked = [names[i % 4] for i in range(80)]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda name: shared.flat(f"{name}.weight", 0, 200), asked))
    assert all(np.array_equal(a, expected[n]) for a, n in zip(read, asked, strict=True))
