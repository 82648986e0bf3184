"""What capturing costs: the packed pass against the same forward without hooks, and against a loop.

Timing does not depend on the weights, so the model has the shape of SmolLM2-135M and random
weights; the prompts have the token counts of the five-registers set under its tokenizer. Run it
with ``pytest tool/bench -s``.

Each bench runs the two ways in turn, in alternating order, and compares the
medians, so that a busy machine slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from refutable.capture.measure import measure
from refutable.models.encode import Encoded
from refutable.models.sites import Sites, find_sites
from refutable.observables.registry import REGISTRY

PAIRS = 31
LENGTHS = (6, 6, 6, 8, 6, 24, 21, 18, 19, 21, 9, 4, 10, 3, 7, 14, 14, 15, 15, 14, 8, 8, 7, 6, 6)
REGISTERS = ("factual", "syntactic", "cliche", "novel", "nonsense")
RESIDUAL_AND_LOGITS = (
    "embedding_norm",
    "mean_log_residual_norm",
    "mean_log_residual_norm_rest",
    "n_blocks",
    "n_tokens",
    "next_token_entropy",
    "residual_norm",
    "residual_norm_tokens",
    "top_probability",
    "top_token",
)
ATTENTION = ("attention_entropy", "attention_first", "attention_previous")


@pytest.fixture(scope="module")
def model(config_135m: LlamaConfig) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(config_135m).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sites(model: Any) -> Sites:
    return find_sites(model)


@pytest.fixture(scope="module")
def prompts() -> Encoded:
    source = np.random.default_rng(0)
    ids = tuple(tuple(int(i) for i in source.integers(10, 49152, n)) for n in LENGTHS)
    names = tuple(f"{REGISTERS[i // 5]}/{i % 5}" for i in range(len(LENGTHS)))
    return Encoded(ids, names, tuple(n.split("/")[0] for n in names), "no-bos", None)


@torch.no_grad()
def bare_pass(model: Any, prompts: Encoded) -> Callable[[], Any]:
    """The same packed forward without hooks, with logits at the last tokens."""
    tokens = torch.tensor([[i for ids in prompts.ids for i in ids]])
    positions = torch.cat([torch.arange(len(ids)) for ids in prompts.ids])[None]
    last = torch.tensor(LENGTHS).cumsum(0) - 1

    @torch.no_grad()
    def run() -> Any:
        return model(
            input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=last
        ).logits

    return run


def loop_over_prompts(model: Any, prompts: Encoded) -> Callable[[], Any]:
    """One prompt at a time, one hook per block, each norm read to the host."""
    norms: list[float] = []

    def hook(module: Any, args: Any, output: Any) -> None:
        norms.append(float(output[0, -1].norm()))

    @torch.no_grad()
    def run() -> list[float]:
        norms.clear()
        handles = [block.register_forward_hook(hook) for block in model.model.layers]
        for ids in prompts.ids:
            model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        return norms

    return run


def capture_pass(
    model: Any, sites: Sites, prompts: Encoded, names: tuple[str, ...]
) -> Callable[[], Any]:
    items = [REGISTRY[name] for name in names]
    return lambda: measure(model, sites, prompts, items, layout="packed")


def ratio(benchmark: Any, engine: Callable[[], Any], other: Callable[[], Any]) -> float:
    """Median time of `engine` over the median time of `other`, run in turn."""
    times: dict[str, list[float]] = {"engine": [], "other": []}

    def timed(name: str, run: Callable[[], Any]) -> None:
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)

    def pair() -> None:
        order = [("engine", engine), ("other", other)]
        for name, run in order if len(times["engine"]) % 2 else reversed(order):
            timed(name, run)

    engine()
    other()
    benchmark.pedantic(pair, rounds=PAIRS, iterations=1)
    medians = {name: statistics.median(values) for name, values in times.items()}
    quotient = medians["engine"] / medians["other"]
    benchmark.extra_info |= {"seconds": medians, "ratio": quotient, "pairs": PAIRS}
    print(
        f"\n{medians['engine']:.3f} s against {medians['other']:.3f} s: ratio {quotient:.3f}",
        flush=True,
    )
    return quotient


def test_residual_and_logits_cost_at_most_5_percent(
    benchmark: Any, model: Any, sites: Sites, prompts: Encoded
) -> None:
    engine = capture_pass(model, sites, prompts, RESIDUAL_AND_LOGITS)
    assert ratio(benchmark, engine, bare_pass(model, prompts)) <= 1.05


def test_attention_summaries_cost_at_most_25_percent(
    benchmark: Any, model: Any, sites: Sites, prompts: Encoded
) -> None:
    engine = capture_pass(model, sites, prompts, RESIDUAL_AND_LOGITS + ATTENTION)
    assert ratio(benchmark, engine, bare_pass(model, prompts)) <= 1.25


def test_one_pass_is_4_times_faster_than_a_loop(
    benchmark: Any, model: Any, sites: Sites, prompts: Encoded
) -> None:
    engine = capture_pass(model, sites, prompts, RESIDUAL_AND_LOGITS)
    loop = loop_over_prompts(model, prompts)
    assert ratio(benchmark, engine, loop) <= 0.25


def test_the_loop_measures_the_same(model: Any, sites: Sites, prompts: Encoded) -> None:
    """A race is only fair when both arrive at the same place."""
    measured = capture_pass(model, sites, prompts, RESIDUAL_AND_LOGITS)()["residual_norm"].values
    wanted = np.array(loop_over_prompts(model, prompts)()).reshape(measured.shape)
    np.testing.assert_allclose(measured, wanted, rtol=1e-4)
    bare = torch.log_softmax(bare_pass(model, prompts)()[0].double(), -1)
    entropy = -(bare.exp() * bare).sum(-1).numpy()
    engine = capture_pass(model, sites, prompts, RESIDUAL_AND_LOGITS)()["next_token_entropy"].values
    np.testing.assert_allclose(engine, entropy, rtol=1e-4)
