"""A pass that does not fit in memory is halved, with one line, and nothing measured changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build

from refutable.capture.measure import measure
from refutable.capture.packing import halves, make_packs, within
from refutable.errors import InstrumentError
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY

NAMES = ("residual_norm", "attention_entropy", "next_token_entropy", "own_token_loss", "n_blocks")
ITEMS = [REGISTRY[name] for name in NAMES]
FAULTS = {
    "accelerator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "processor": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
}


def prompts(count: int = 24) -> Encoded:
    source = np.random.default_rng(1)
    lengths = [3 + (5 * place) % 17 for place in range(count)]
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in lengths)
    names = tuple(f"f{place % 4}/{place}" for place in range(count))
    return Encoded(ids, names, tuple(name[:2] for name in names), "no-bos", None)


class Room:
    """Memory that holds so many tokens of a pass; breaks off in the middle of a block."""

    def __init__(self, model: Any, tokens: int, fault: Exception) -> None:
        self.widest, self.refused = 0, 0
        self._tokens, self._fault = tokens, fault
        model.model.layers[1].mlp.register_forward_pre_hook(self)

    def __call__(self, module: Any, args: Any) -> None:
        size = args[0].shape[0] * args[0].shape[1]
        if size > self._tokens:
            self.refused += 1
            raise self._fault
        self.widest = max(self.widest, size)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("fault", FAULTS)
def test_passes_are_halved_until_they_fit(fault: str, layout: str) -> None:
    model, encoded = build("llama"), prompts()
    sites = find_sites(model)
    wanted = measure(model, sites, encoded, ITEMS, layout=layout)
    room = Room(model, 60, FAULTS[fault])
    said: list[str] = []
    measured = measure(model, sites, encoded, ITEMS, layout=layout, say=said.append)
    for name, array in wanted.items():
        np.testing.assert_allclose(measured[name].values, array.values, rtol=1e-4, atol=1e-5)
        if "prompt" in array.dims:
            assert list(measured[name]["prompt"].values) == list(encoded.prompt_ids)
    # What follows is not tried at the size that failed.
    assert room.refused == len(said) <= 3
    assert room.widest <= 60
    assert all("going on with at most" in line and "\n" not in line for line in said)


def test_one_prompt_that_does_not_fit_is_named() -> None:
    model, encoded = build("llama"), prompts()
    sites = find_sites(model)
    Room(model, 10, FAULTS["accelerator"])
    with pytest.raises(InstrumentError, match=r"prompt f\d/\d+ alone is too much"):
        measure(model, sites, encoded, ITEMS)


def test_another_fault_is_no_lack_of_memory() -> None:
    model, encoded = build("llama"), prompts()
    sites = find_sites(model)
    room = Room(model, 60, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(InstrumentError, match="mat1 and mat2"):
        measure(model, sites, encoded, ITEMS)
    assert room.refused == 1


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_halves_hold_every_prompt_once(layout: str) -> None:
    lengths = [7, 1, 30, 2, 2, 9, 40, 3]
    for pack in make_packs(lengths, layout, token_budget=200):
        parts = within(pack, 20)
        assert sorted(p for part in parts for p in part.prompts) == sorted(pack.prompts)
        for part in parts:
            assert part.tokens <= 20 or len(part.segments) == 1
            assert part.layout == layout
            for segment in part.segments:
                assert segment.length == lengths[segment.prompt]
                assert segment.row < part.rows
                assert segment.start + segment.length <= part.width
    assert len(halves(make_packs([5], layout, token_budget=9)[0])) == 1
