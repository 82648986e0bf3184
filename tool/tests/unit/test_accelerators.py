"""What a build for accelerators must hold; skipped, with the reason, where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build

from refutable.capture.batch import make_batch
from refutable.capture.hooks import Capture
from refutable.capture.measure import measure, passes_of
from refutable.capture.plan import make_plan
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY

NAMES = ("residual_norm", "attention_entropy", "next_token_entropy", "own_token_loss")
ITEMS = [REGISTRY[name] for name in NAMES]

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"
)


def prompts() -> Encoded:
    source = np.random.default_rng(1)
    lengths = [3 + (5 * place) % 17 for place in range(24)]
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in lengths)
    names = tuple(f"f{place % 4}/{place}" for place in range(24))
    return Encoded(ids, names, tuple(name[:2] for name in names), "no-bos", None)


@pytest.mark.parametrize("layout", ["packed", "padded", "single"])
def test_the_device_gives_what_the_processor_gives(layout: str) -> None:
    model, encoded = build("llama"), prompts()
    wanted = measure(model, find_sites(model), encoded, ITEMS, layout=layout)
    model = model.to("cuda")
    measured = measure(model, find_sites(model), encoded, ITEMS, layout=layout)
    for name, array in wanted.items():
        np.testing.assert_allclose(measured[name].values, array.values, rtol=1e-3, atol=1e-4)


def test_nothing_waits_for_the_device_inside_a_pass() -> None:
    model, encoded = build("llama").to("cuda"), prompts()
    sites, plan = find_sites(model), make_plan(ITEMS)
    (pack, *_) = passes_of(model, encoded, plan, "packed")
    with Capture(model, sites, plan) as capture:
        capture.run(pack, encoded.ids)
        batch = make_batch(pack, encoded.ids, "cuda", attention=True)
        assert batch.last.is_cuda
        torch.cuda.synchronize()
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.no_grad():
                model(**batch.inputs, use_cache=False)
        finally:
            torch.cuda.set_sync_debug_mode(before)


def test_a_pass_that_does_not_fit_on_the_device_is_halved() -> None:
    model, encoded = build("llama").to("cuda"), prompts()
    sites = find_sites(model)
    wanted = measure(model, sites, encoded, ITEMS)

    def full(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape[0] * args[0].shape[1] > 60:
            torch.empty(1 << 50, device="cuda")

    model.model.layers[1].mlp.register_forward_pre_hook(full)
    said: list[str] = []
    measured = measure(model, sites, encoded, ITEMS, say=said.append)
    assert said
    for name, array in wanted.items():
        np.testing.assert_allclose(measured[name].values, array.values, rtol=1e-3, atol=1e-4)
