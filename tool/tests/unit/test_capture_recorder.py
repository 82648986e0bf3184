"""Recorders of one's own, logits at every token, ruled-out tokens, and the cost of importing."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build

from refutable.capture.measure import measure
from refutable.capture.recorder import ALL_LOGITS, BlockRecorder, Recorder
from refutable.capture.views import _next_token
from refutable.errors import InstrumentError, NotAvailableError
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY, Observable

LENGTHS = (9, 3, 14, 2, 22)
LAYOUTS = pytest.mark.parametrize("layout", ["packed", "padded", "single"])


def encoded() -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in LENGTHS)
    names = tuple(f"f/{i}" for i in range(len(LENGTHS)))
    return Encoded(ids, names, ("f",) * len(LENGTHS), "no-bos", None)


class TokenLoss(Recorder):
    name = "token_loss"
    reads = (ALL_LOGITS,)

    def read(self, site: str, layer: int, view: Any) -> None:
        log_probs = torch.log_softmax(view.all().float(), -1)
        ids = view.input_ids()
        gold = log_probs[:-1].gather(1, ids[1:, None])[:, 0]
        whole = view.by_prompt(torch.cat([gold.new_zeros(1), -gold]))
        self._loss = whole[:, 1:].nanmean(1)

    def take(self, pack: Any, blocks: int) -> torch.Tensor:
        return self._loss


class SublayerNorms(BlockRecorder):
    name = "mlp_norm"
    reads = ("blocks.*.mlp_out",)

    def read(self, site: str, layer: int, view: Any) -> None:
        self.keep(layer, view.last().norm(dim=-1))


class Forgetful(SublayerNorms):
    name = "forgetful"

    def read(self, site: str, layer: int, view: Any) -> None:
        if layer != 1:
            super().read(site, layer, view)


def observable(recorder: Any, dims: tuple[str, ...]) -> Observable:
    return Observable(recorder.name, "", dims, "", 1, recorder=recorder)


@LAYOUTS
def test_logits_at_every_token_give_the_models_own_loss(layout: str) -> None:
    model = build("llama")
    items = [observable(TokenLoss, ("prompt",)), REGISTRY["next_token_entropy"]]
    measured = measure(model, find_sites(model), encoded(), items, layout=layout)
    for at, ids in enumerate(encoded().ids):
        tokens = torch.tensor([ids])
        loss = float(model(input_ids=tokens, labels=tokens).loss)
        assert float(measured["token_loss"][at]) == pytest.approx(loss, rel=1e-4)
    alone = measure(model, find_sites(model), encoded(), items[1:], layout=layout)
    np.testing.assert_allclose(
        measured["next_token_entropy"].values, alone["next_token_entropy"].values, rtol=1e-5
    )


@LAYOUTS
def test_a_site_inside_a_block_can_be_read(layout: str) -> None:
    model = build("gpt2")
    wanted: list[float] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        wanted.append(float(output[0, -1].norm()))

    handles = [block.mlp.register_forward_hook(keep) for block in model.transformer.h]
    for ids in encoded().ids:
        model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    items = [observable(SublayerNorms, ("prompt", "layer"))]
    measured = measure(model, find_sites(model), encoded(), items, layout=layout)["mlp_norm"]
    np.testing.assert_allclose(measured.values.reshape(-1), wanted, rtol=1e-4)


def test_a_block_that_is_missed_is_an_error() -> None:
    model = build("gpt2")
    items = [observable(Forgetful, ("prompt", "layer"))]
    with pytest.raises(InstrumentError, match="captured 2 of 3 blocks"):
        measure(model, find_sites(model), encoded(), items)


def test_one_token_budget_or_many_give_the_same() -> None:
    model = build("mistral")
    items = [o for o in REGISTRY if o.recorder is not None and "prompt" in o.dims][:6]
    whole = measure(model, find_sites(model), encoded(), items)
    split = measure(model, find_sites(model), encoded(), items, token_budget=16)
    for key, array in whole.items():
        np.testing.assert_allclose(split[key].values, array.values, rtol=1e-4, atol=1e-6)


def test_entropy_is_exact_where_it_can_be_worked_out() -> None:
    logits = torch.tensor(
        [
            [0.0, 0.0, 0.0, 0.0],
            [math.log(0.5), math.log(0.25), math.log(0.25), -math.inf],
            [1000.0, 0.0, -1000.0, -math.inf],
        ]
    )
    entropy, top, token = _next_token(logits)
    assert entropy.tolist() == pytest.approx([math.log(4), 1.5 * math.log(2), 0.0], abs=1e-6)
    assert top.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert token.tolist()[1:] == [0, 0]
    assert math.isnan(float(_next_token(torch.tensor([[1.0, math.nan]]))[0]))


def test_half_precision_is_reduced_in_float32() -> None:
    model = build("gpt2").to(torch.bfloat16)
    items = [REGISTRY["residual_norm"], REGISTRY["attention_entropy"]]
    measured = measure(model, find_sites(model), encoded(), items)
    assert {array.dtype for array in measured.values()} == {np.dtype("float32")}
    values = measured["residual_norm"].values
    rounded = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(values, rounded), "the norm itself is not rounded to bfloat16"


def test_a_model_without_an_unembedding_has_no_logits() -> None:
    model = build("gpt2")
    sites = find_sites(model)
    model.get_output_embeddings = lambda: None
    headless = find_sites(model)
    assert sites.unembedding is not None
    with pytest.raises(NotAvailableError, match="no unembedding"):
        measure(model, headless, encoded(), [REGISTRY["next_token_entropy"]])


def test_importing_observables_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from refutable.observables.registry import REGISTRY\n"
        "import refutable.capture.plan, refutable.store.store, refutable.capture.packing\n"
        "assert 'residual_norm' in REGISTRY\n"
        "print(sorted({'torch', 'transformers', 'xarray', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
