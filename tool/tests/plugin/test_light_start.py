"""What a run that only reads does without: a busy garbage collector, and hypothesis."""

from __future__ import annotations

import gc

CONFTEST = """
import atexit, gc, sys

def pytest_collection_modifyitems():
    print("while collecting", gc.get_threshold()[0])

atexit.register(lambda: print("hypothesis was imported:", "hypothesis" in sys.modules))
"""


def test_collector_looks_seldom_until_a_test_that_is_no_claim_runs(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("import gc\ndef test_pace():\n    print('inside', gc.get_threshold()[0])\n")
    run = pytester.runpytest_subprocess("-s", "-p", "no:cacheprovider")
    usual = gc.get_threshold()[0]
    # A fresh process has the usual pace: this one may have been told another.
    assert f"inside {usual}" in run.stdout.str()
    collecting = next(line for line in run.outlines if line.startswith("while collecting"))
    assert int(collecting.split()[-1]) > 10 * usual
    assert "hypothesis was imported: False" in run.stdout.str()


def test_hypothesis_keeps_its_part_where_it_is_wanted(pytester):
    pytester.makepyfile(
        "from hypothesis import given, strategies as st\n"
        "@given(st.integers())\ndef test_number(n):\n    assert isinstance(n, int)\n"
    )
    run = pytester.runpytest_subprocess("--hypothesis-show-statistics", "-p", "no:cacheprovider")
    run.assert_outcomes(passed=1)
    assert "Hypothesis Statistics" in run.stdout.str()
