"""Small models are measured with one thread, and torch has its threads back after that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refutable.capture import threads
from refutable.measurement.harness import open_harness
from refutable.observables import depth
from refutable.spec.prompts import PromptLibrary
from refutable.store.store import Store
from refutable.system.paths import fixtures


@pytest.mark.parametrize(("most", "wanted"), [(threads.SMALL, 1), (1, 2)])
def test_a_small_model_gets_one_thread_and_a_larger_one_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, wanted: int
) -> None:
    seen: list[int] = []
    before, rows = torch.get_num_threads(), depth._random_tokens

    def counted(*args: int) -> list[list[int]]:
        seen.append(torch.get_num_threads())
        return rows(*args)

    monkeypatch.setattr(threads, "SMALL", most)
    monkeypatch.setattr(depth, "_random_tokens", counted)
    harness = open_harness(PromptLibrary([fixtures()]), store=Store(tmp_path))
    harness.ask("tiny-rmsnorm", "five-registers", "no-bos", ["induction_attention"])
    try:
        torch.set_num_threads(2)
        harness.measure("tiny-rmsnorm")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [wanted]
