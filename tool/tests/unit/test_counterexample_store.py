"""Counterexamples that are kept: what is written is read, and a killed run leaves what it had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from refutable.errors import PromptError, RefutableError
from refutable.falsify.budget import Budget, parse_budget
from refutable.falsify.counterexamples import CounterexampleStore, Stored, read

ONE = Stored(
    claim="gain.mine",
    model="little",
    weights="w1",
    tokenizer="",
    arm="bos",
    ids=(3, 7),
    text='"\\n é 🙂',
    value=-0.25,
    region="above 0",
    how="gradient",
    tokens_before=9,
)


def test_what_is_kept_is_read_back_and_replaced_by_a_smaller_one(tmp_path: Path) -> None:
    store = CounterexampleStore(tmp_path / "own")
    assert store.of("gain.mine") == []
    other = replace(ONE, weights="w2", model="other")
    store.put(ONE)
    store.put(other)
    smaller = replace(ONE, ids=(7,), text="x")
    store.put(smaller)
    assert sorted(store.of("gain.mine"), key=lambda o: o.weights) == [smaller, other]


def test_a_shipped_one_comes_first_and_is_never_dropped(tmp_path: Path) -> None:
    CounterexampleStore(tmp_path / "shipped").put(ONE)
    store = CounterexampleStore(tmp_path / "own", [tmp_path / "shipped"])
    stored = replace(ONE, ids=(1,))
    store.put(stored)
    assert store.of("gain.mine") == [ONE, stored]
    assert not store.drop(ONE)
    assert store.drop(stored)
    assert store.of("gain.mine") == [ONE]


@pytest.mark.parametrize("text", ["[[counterexample]]\nids = [1]\n", "[[counter", "\udcff"])
def test_a_malformed_file_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gain.mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PromptError, match=r"gain\.mine\.toml"):
        read(path)


def test_prompts_written_by_hand_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "gain.mine.toml"
    path.write_text('[[family]]\nname = "f"\nprompts = ["a b"]\n')
    with pytest.raises(RefutableError, match="by hand"):
        CounterexampleStore(tmp_path).put(ONE)
    assert "a b" in path.read_text()


def test_a_killed_process_leaves_what_it_had_found(tmp_path: Path) -> None:
    code = f"""
import os, signal
from dataclasses import replace
from pathlib import Path
from refutable.falsify.counterexamples import CounterexampleStore, Stored
store = CounterexampleStore(Path({str(tmp_path)!r}))
for size in range(9, 2, -1):
    store.put(replace({ONE!r}, ids=tuple(range(size)), complete=False))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = CounterexampleStore(tmp_path).of("gain.mine")
    assert left.ids == (0, 1, 2)
    assert not left.complete


def test_budgets_are_read_and_the_default_shrinks_with_the_model() -> None:
    assert parse_budget("500") == Budget(candidates=500)
    assert parse_budget("2.5s") == Budget(seconds=2.5)
    assert parse_budget("0").nothing
    assert not parse_budget("").stated
    small, large = Budget().of(10**6), Budget().of(10**9)
    assert small is not None
    assert large is not None
    assert small > large > 0
    for wrong in ("-1", "ten", "5m", "1e3"):
        with pytest.raises(RefutableError, match="candidates"):
            parse_budget(wrong)
