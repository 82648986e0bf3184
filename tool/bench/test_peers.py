"""Other ways to the same numbers, raced: `pip install "refutable[peers]" && pytest tool/bench -s`.

The model has the shape of SmolLM2-135M and random weights, saved once; only ratios of medians are
held to anything. `refutable bench --peers` races on a model of the user's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from refutable.cli.listing import console
from refutable.cli.peers.race import LOOP, run_peers
from refutable.cli.peers.records import Report, Workload
from refutable.cli.peers.show import tables
from refutable.system.paths import fixtures

ROUNDS = 7


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, config_135m: LlamaConfig) -> Report:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    LlamaForCausalLM(config_135m).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(fixtures() / "tiny" / "rmsnorm" / name, folder / name)
    report_made = run_peers(str(folder), rounds=ROUNDS)
    for table in tables(report_made):
        console().print(table)
    return report_made


@pytest.fixture
def raced(report: Report, benchmark: Any) -> Callable[[str], dict[str, float]]:
    """Ratios to the bare forward of a workload, handed to pytest-benchmark's record."""

    def ratios(name: str) -> dict[str, float]:
        (workload,) = (w for w in report.workloads if w.name == name)
        times = _ratios(workload)
        benchmark.extra_info |= {"ratios": times, "rounds": ROUNDS, "versions": report.versions}
        # The race has its own clock: contenders take turns.
        benchmark.pedantic(lambda: None, rounds=1)
        return times

    return ratios


def _ratios(workload: Workload) -> dict[str, float]:
    return {t.name: t.cpu_median / workload.floor for t in workload.timings if not t.absent}


def test_everybody_finds_the_same(report: Report) -> None:
    for workload in report.workloads:
        for timing in workload.timings:
            if "not installed" not in timing.absent:
                assert timing.absent == "", timing.name


def test_norms_and_entropy_cost_little_more_than_the_forward(
    raced: Callable[[str], dict[str, float]],
) -> None:
    times = raced("W1")
    engine = times["this engine"]
    assert engine <= 1.05
    assert all(engine <= other for name, other in times.items() if "bare" not in name)
    assert times[LOOP] / engine >= 2


def test_attention_summaries_cost_a_quarter_at_most(
    raced: Callable[[str], dict[str, float]],
) -> None:
    times = raced("W2")
    engine = times["this engine"]
    assert engine <= 1.25
    assert all(engine <= other for name, other in times.items() if "bare" not in name)
