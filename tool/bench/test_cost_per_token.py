"""What a real token costs, by the number of prompts, their length, and the tokens of a pass.

Processor time, which other programs do not lengthen as they do wall time; the ways are run in turn
and medians compared. ``pytest tool/bench/test_cost_per_token.py -s`` prints the table; only ratios
are gated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from refutable.capture.measure import measure
from refutable.models.encode import Encoded
from refutable.models.sites import Sites, find_sites
from refutable.observables.registry import REGISTRY

ROUNDS = 5
VOCABULARY = 4096
RECORDED = ("residual_norm", "mean_log_residual_norm", "next_token_entropy", "top_token")


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama config, and how much of it is run: one of ten times the size runs a tenth."""

    config: Mapping[str, int]
    prompts: tuple[int, ...]
    lengths: tuple[int, ...]
    budgets: tuple[int, ...]


SHAPES = {
    "13M": Shape(
        {
            "vocab_size": VOCABULARY, "hidden_size": 384, "intermediate_size": 1024,
            "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 2,
        },
        (25, 250, 2500), (64, 256, 1024, 4096), (256, 512, 1024, 2048),
    ),
    "135M": Shape(
        {
            "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        },
        (25, 250), (64, 256, 1024, 2048), (256, 512, 1024),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(SHAPES))
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(scope="module")
def model(shape: Shape) -> Any:
    config = LlamaConfig(**shape.config, max_position_embeddings=8192, tie_word_embeddings=True)
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sites(model: Any) -> Sites:
    return find_sites(model)


def encoded(lengths: Sequence[int]) -> Encoded:
    source = np.random.default_rng(0)
    ids = tuple(tuple(int(i) for i in source.integers(10, VOCABULARY, n)) for n in lengths)
    names = tuple(f"f{place % 5}/{place}" for place in range(len(lengths)))
    return Encoded(ids, names, tuple(name.split("/")[0] for name in names), "no-bos", None)


def battery(count: int) -> Encoded:
    """Prompts of the lengths of the battery's: 4 to 64 tokens, 19 on average."""
    lengths = np.random.default_rng(1).integers(4, 35, count)
    return encoded([int(n) for n in lengths])


def costs(
    model: Any, sites: Sites, ways: dict[Any, tuple[Encoded, int | None]]
) -> dict[Any, float]:
    """Median microseconds of processor time a real token, of ways that are run in turn."""
    items = [REGISTRY[name] for name in RECORDED]
    taken: dict[Any, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way in list(ways) if turn % 2 else list(ways)[::-1]:
            prompts, budget = ways[way]
            start = time.process_time()
            measure(model, sites, prompts, items, layout="packed", token_budget=budget)
            tokens = sum(len(ids) for ids in prompts.ids)
            if turn:
                taken[way].append(1e6 * (time.process_time() - start) / tokens)
    medians = {way: statistics.median(values) for way, values in taken.items()}
    told = (
        f"{way}: {medians[way]:.0f} us ({min(values):.0f} to {max(values):.0f}, n {len(values)})"
        for way, values in taken.items()
    )
    print("\n" + "  ".join(told), flush=True)
    return medians


def test_a_token_costs_the_same_in_a_small_and_in_a_large_set(
    shape: Shape, model: Any, sites: Sites
) -> None:
    cost = costs(model, sites, {count: (battery(count), None) for count in shape.prompts})
    # A set of 25 prompts fills one pass.
    assert max(cost.values()) / min(cost.values()) <= 1.1


def test_long_prompts_cost_what_their_attention_costs(
    shape: Shape, model: Any, sites: Sites
) -> None:
    most = shape.lengths[-1]
    ways = {n: (encoded([n] * (most // n)), None) for n in shape.lengths}
    cost = costs(model, sites, ways)
    assert cost[256] / cost[64] <= 1.5


def test_the_default_budget_is_near_the_best(shape: Shape, model: Any, sites: Sites) -> None:
    prompts = battery(max(shape.prompts[:2]) if len(shape.prompts) > 2 else 100)
    cost = costs(model, sites, {budget: (prompts, budget) for budget in shape.budgets})
    assert cost[512] <= 1.15 * min(cost.values())
