"""Building models from several threads leaves torch's default type as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from transformers import GPT2Config

from refutable.observables.weights.roles import meta_model


def test_building_half_precision_models_side_by_side_keeps_the_default_type() -> None:
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=6, n_head=2)
    config.dtype = torch.float16
    before = torch.get_default_dtype()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: meta_model(config), range(24)))
    assert torch.get_default_dtype() is before
    assert {p.dtype for model in made for p in model.parameters()} == {torch.float32}
