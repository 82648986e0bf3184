"""What a search scores in a second, against one forward pass per example.

Each bench runs the two ways in turn and compares the medians. The exploration is the search's own,
with its default budget, its mix of lengths, its proposals and gradients, on the claim that the last
block changes the stream in one direction. What one forward pass for each example costs is taken on
every so many of the very prompts that it tried, by a plain forward of the model without any hook,
so that the body of the claim costs it nothing. Run it with
``pytest tool/bench/test_search.py -s``; models of the registry are named by
``REFUTABLE_BENCH_MODEL``.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from refutable import Source, claim, every
from refutable.falsify.beginnings import Beginnings
from refutable.falsify.budget import Budget, Meter
from refutable.falsify.explore import Explorer
from refutable.falsify.gradient import Gradients
from refutable.falsify.objective import Objective, Subject
from refutable.falsify.proposals import Domain
from refutable.falsify.vocabulary import Ids, vocabulary
from refutable.models.load import LoadedModel, load
from refutable.models.registry import resolve
from refutable.models.sites import find_sites

MODEL = os.environ.get("REFUTABLE_BENCH_MODEL", "tiny-layernorm")
LENGTHS = (2, 4, 8, 16, 24)
# The larger model takes a second for what the twin does in a hundredth.
SMALL = MODEL.startswith("tiny")
CANDIDATES = 512 if SMALL else 96
ALONE = 64 if SMALL else 12
ROUNDS = 5 if SMALL else 2
LEAST = 10.0 if SMALL else 4.0


@claim(
    id="bench.grows",
    statement="The last block grows the stream.",
    refuted_if="one prompt shrinks it",
    source=Source(study="bench", ref="B"),
    arms=("bos",),
    predicts=every.above(0.0),
)
def body(log_growth: Any, n_tokens: Any) -> Any:
    """Log gain of the last block at the last token, prompts of two tokens or more."""
    return log_growth.isel(layer=-1, drop=True).isel(prompt=(n_tokens >= 2).values)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(resolve(MODEL))


@pytest.fixture(scope="module")
def subject(loaded: LoadedModel) -> Subject:
    return Subject(loaded, find_sites(loaded.model), "packed", loaded.facts.bos)


@pytest.fixture(scope="module")
def domain(loaded: LoadedModel) -> Domain:
    return Domain(vocabulary(loaded.tokenizer, loaded.facts))


def objective(subject: Subject) -> Objective:
    return Objective(body.__claim__, subject)


def drawn(domain: Domain, length: int, count: int, seed: int) -> list[Ids]:
    rng = np.random.default_rng(seed)
    indices = rng.integers(len(domain.vocabulary), size=(count, length))
    return [tuple(domain.vocabulary.ordered[int(i)] for i in row) for row in indices]


@torch.no_grad()
def alone(subject: Subject, prompts: Sequence[Ids]) -> float:
    """Seconds of one plain forward pass, one prompt at a time."""
    start = time.perf_counter()
    for ids in prompts:
        inputs = torch.tensor([(subject.bos, *ids)])
        subject.loaded.model(input_ids=inputs, use_cache=False, logits_to_keep=1)
    return (time.perf_counter() - start) / len(prompts)


def timed(run: Callable[[], int]) -> float:
    """Seconds for one of the things that a run says it did."""
    start = time.perf_counter()
    done = run()
    return (time.perf_counter() - start) / done


def compared(benchmark: Any, ways: dict[str, Callable[[int], float]], shown: str) -> dict[str, Any]:
    """Median seconds of each way, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    rounds = iter(range(ROUNDS + 1))

    def one() -> None:
        k = next(rounds)
        for name, way in ways.items():
            times[name].append(way(k))

    one()
    for kept in times.values():
        kept.clear()
    benchmark.pedantic(one, rounds=ROUNDS, iterations=1)
    median = {name: statistics.median(kept) for name, kept in times.items()}
    gain = {name: median["alone"] / value for name, value in median.items() if name != "alone"}
    benchmark.extra_info |= {"seconds": median, "gain": gain, "threads": torch.get_num_threads()}
    told = ", ".join(f"{name} x {value:.1f}" for name, value in gain.items())
    print(f"\n{MODEL}, {shown}: {median['alone'] * 1e3:.2f} ms alone; {told}", flush=True)
    return gain


@pytest.mark.parametrize("length", LENGTHS)
def test_passes_of_many_candidates(
    benchmark: Any, subject: Subject, domain: Domain, length: int
) -> None:
    """Random prompts of one length: each scored as a whole, and with its beginnings."""
    packed = objective(subject)
    shared = Beginnings(objective(subject), 1)

    def whole(k: int) -> float:
        made = drawn(domain, length, CANDIDATES, 3 * k)
        return timed(lambda: len(packed(made)))

    def beginnings(k: int) -> float:
        made = drawn(domain, length, CANDIDATES, 3 * k + 1)
        before = shared.scored

        def run() -> int:
            shared(made)
            return shared.scored - before

        return timed(run)

    ways = {
        "alone": lambda k: alone(subject, drawn(domain, length, ALONE, 3 * k + 2)),
        "packed": whole,
        "with beginnings": beginnings,
    }
    gain = compared(benchmark, ways, f"{length} tokens")
    assert not shared.problem
    assert gain["with beginnings"] >= 0.9 * gain["packed"]


def test_an_exploration_of_the_default_lengths(
    benchmark: Any, subject: Subject, domain: Domain
) -> None:
    """The search's own rounds against one forward pass for each of the prompts it tried."""
    tried: list[Ids] = []

    def explored(k: int) -> tuple[float, int, int]:
        judged = objective(subject)
        score = Beginnings(judged, 1)
        tried.clear()

        def scoring(prompts: Sequence[Ids]) -> Any:
            tried.extend(prompts)
            return score(prompts)

        explorer = Explorer(
            scoring,
            domain,
            Meter(Budget().of(subject.loaded.facts.parameters), None),
            np.random.default_rng(k),
            bound=float("inf"),
            propose=Gradients(judged, domain.vocabulary),
            fill=not score.problem,
        )
        start = time.perf_counter()
        explorer.run(drawn(domain, 12, 16, 1000 + k))
        return time.perf_counter() - start, judged.scored, score.scored

    last: dict[str, float] = {}

    def candidates(k: int) -> float:
        seconds, whole, scored = explored(k)
        last["scored"] = seconds / scored
        return seconds / whole

    ways = {
        "candidates": candidates,
        "scored prompts": lambda k: last["scored"],
        "alone": lambda k: alone(subject, tried[:: max(1, len(tried) // ALONE)]),
    }
    gain = compared(benchmark, ways, "exploration")
    assert gain["candidates"] >= LEAST
