"""The race against other ways to read internals: fair, and told as it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from refutable.cli.peers import race
from refutable.cli.peers.arithmetic import entropy_of, last_norms, padded, summaries
from refutable.cli.peers.contenders import BARE, ENGINE
from refutable.cli.peers.records import Report
from refutable.cli.peers.show import cells, figure, head, leave, read

PATTERN = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.0, 0.75]]


def test_padding_keeps_positions_and_ends() -> None:
    left = padded([(7, 8, 9), (5,)], "cpu", left=True)
    assert left.ids.tolist() == [[7, 8, 9], [0, 0, 5]]
    assert left.mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left.positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert left.last.tolist() == [2, 2]
    right = padded([(7, 8, 9), (5,)], "cpu", left=False)
    assert right.ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert right.last.tolist() == [2, 0]
    stream = torch.arange(12.0).view(2, 3, 2)
    norms = torch.tensor([[math.hypot(4, 5)], [math.hypot(6, 7)]])
    torch.testing.assert_close(last_norms([stream], right), norms)


@pytest.mark.parametrize("left", [False, True])
def test_summaries_of_a_pattern_by_hand(left: bool) -> None:
    batch = padded([(7, 8, 9), (5, 6)], "cpu", left=left)
    pattern = torch.zeros(2, 1, 3, 3)
    pattern[0, 0] = torch.tensor(PATTERN)
    at = 1 if left else 0
    pattern[1, 0, at : at + 2, at : at + 2] = torch.tensor([[1.0, 0.0], [0.2, 0.8]])
    # What stands in the rows of padding must not count.
    pattern[1, 0, 0 if left else 2] = 1 / 3
    by_name = summaries([pattern], batch)
    rows = [
        math.log(2) / math.log(2),
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(3),
    ]
    short = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
    expected = {
        "attention_entropy": [sum(rows) / 2, short],
        "attention_first": [(0.5 + 0.25) / 2, 0.2],
        "attention_previous": [(0.5 + 0.0) / 2, 0.2],
    }
    for name, values in expected.items():
        assert by_name[name].shape == (2, 1, 1)
        assert by_name[name][:, 0, 0].tolist() == pytest.approx(values, abs=1e-6)


def test_entropy_of_even_odds() -> None:
    assert float(entropy_of(torch.zeros(1, 8))) == pytest.approx(math.log(8))


@pytest.fixture(scope="module")
def report() -> Report:
    return race.run_peers("tiny-rmsnorm", rounds=2)


def test_whoever_races_finds_what_single_prompts_give(report: Report) -> None:
    assert [w.name for w in report.workloads] == ["W1", "W2", "W3"]
    for workload in report.workloads:
        assert workload.timings[0].name == BARE
        for timing in workload.timings:
            if timing.absent:
                assert timing.absent == race.INSTALL
                continue
            assert timing.difference is not None
            assert timing.difference <= race.EQUAL
            assert len(timing.seconds) == len(timing.cpu) == 2
    raced = {t.name for w in report.workloads[:2] for t in w.timings if not t.absent}
    assert {ENGINE, race.LOOP, "output_hidden_states", "output_attentions"} <= raced


def test_who_finds_something_else_does_not_race(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"residual_norm": torch.ones(2, 3)}
    wrong = {"residual_norm": torch.tensor([[1.0, 1.0], [1.0, 1.001]])}
    runs = {"right": lambda: {"residual_norm": torch.ones(2, 2)}, "wrong": lambda: wrong}
    right, other = race._raced(runs, expected, 1, "cpu", "W")
    assert right.absent == ""
    assert other.absent == "differs by 1.0e-03"
    assert other.cpu == ()


def test_a_report_is_read_as_it_was_left(report: Report, tmp_path: Path) -> None:
    numbers, picture = leave(report, tmp_path)
    assert read(numbers) == report
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert f"{report.tokens} tokens" in head(report)
    workload = report.workloads[0]
    first = cells(report, workload, workload.timings[0])
    assert first[1].startswith("1.00 (")
    assert [axes.get_title(loc="left")[:2] for axes in figure(report).axes] == ["W1", "W2", "W3"]


def test_the_page_says_what_the_record_holds() -> None:
    docs = Path(__file__).parents[3] / "docs"
    recorded, page = read(docs / "peers.json"), (docs / "performance.md").read_text("utf-8")
    for workload in recorded.workloads:
        for timing in workload.timings:
            row = " | ".join((timing.name, *cells(recorded, workload, timing)))
            assert f"| {row} |" in page
    floor = recorded.workloads[0].floor
    limit = recorded.matmul * recorded.matmul_seconds / recorded.peak
    said = (
        f"take {recorded.matmul_seconds:.3f} of its {floor:.3f} s, at {recorded.matmul:.0f} GFLOP/s"
    )
    assert said in page
    assert f"at the {recorded.peak:.0f} GFLOP/s of large square matrices they would" in page
    assert f"take {limit:.3f} s, of which the bare forward is {floor / limit:.2f} times" in page
    assert recorded.commit in page
