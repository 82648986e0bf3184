"""What a real token costs, by the number of prompts, their length, and the tokens of a pass.

Processor time, which other programs do not lengthen as they do wall time; the ways are run in turn
and medians compared. ``pytest tool/bench/test_cost_per_token.py -s`` prints the table; only ratios
are gated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from refutable.capture.measure import measure
from refutable.models.encode import Encoded
from refutable.models.sites import Sites, find_sites
from refutable.observables.registry import REGISTRY

PROMPTS = (25, 250, 2500)
LENGTHS = (64, 256, 1024, 4096)
BUDGETS = (256, 512, 1024, 2048)
ROUNDS = 5
VOCABULARY = 4096
OURS = ("residual_norm", "mean_log_residual_norm", "next_token_entropy", "top_token")


@pytest.fixture(scope="module")
def model() -> Any:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
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
    items = [REGISTRY[name] for name in OURS]
    taken: dict[Any, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way in list(ways) if turn % 2 else list(ways)[::-1]:
            prompts, budget = ways[way]
            start = time.process_time()
            measure(model, sites, prompts, items, layout="packed", token_budget=budget)
            tokens = sum(len(ids) for ids in prompts.ids)
            if turn:
                taken[way].append(1e6 * (time.process_time() - start) / tokens)
    measured = {way: statistics.median(values) for way, values in taken.items()}
    print("\n" + "  ".join(f"{way}: {value:.0f} us" for way, value in measured.items()), flush=True)
    return measured


def test_a_token_costs_the_same_in_a_small_and_in_a_large_set(model: Any, sites: Sites) -> None:
    seconds = costs(model, sites, {count: (battery(count), None) for count in PROMPTS})
    # A set of 25 prompts fills one pass.
    assert max(seconds.values()) / min(seconds.values()) <= 1.1


def test_long_prompts_cost_what_their_attention_costs(model: Any, sites: Sites) -> None:
    seconds = costs(model, sites, {n: (encoded([n] * (4096 // n)), None) for n in LENGTHS})
    assert seconds[256] / seconds[64] <= 1.5


def test_the_default_budget_is_near_the_best(model: Any, sites: Sites) -> None:
    prompts = battery(250)
    seconds = costs(model, sites, {budget: (prompts, budget) for budget in BUDGETS})
    assert seconds[512] <= 1.15 * min(seconds.values())
