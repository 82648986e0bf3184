"""Lines of a run's progress, by how much a user asked to be told."""

from __future__ import annotations

import pytest

PLUGIN = """
import pytest
from refutable.plugin.process import say_line

@pytest.hookimpl
def pytest_runtest_call(item):
    say_line(item.config, "a piece of work")
    say_line(item.config, "one of 3 models", least=-1)
"""


@pytest.mark.parametrize(("how", "piece", "model"), [("-v", 1, 1), ("-q", 0, 1), ("-qq", 0, 0)])
def test_a_quiet_run_still_tells_a_line_a_model(
    pytester: pytest.Pytester, how: str, piece: int, model: int
) -> None:
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile("def test_one():\n    print('captured')")
    said = pytester.runpytest(how, "-p", "no:cacheprovider").stdout.str()
    assert said.count("  a piece of work") == piece
    assert said.count("  one of 3 models") == model
    assert "captured" not in said
