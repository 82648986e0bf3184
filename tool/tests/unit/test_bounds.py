"""Lower bounds of dependencies are versions that were tried: those of constraints.txt."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STATED = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
BOUND = re.compile(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?>=([0-9.]+)$")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {plain(n): v for n, _, v in (line.partition("==") for line in lines) if v}


@pytest.mark.parametrize("stated", [s for s in STATED if not s.startswith("refutable[")])
def test_a_lower_bound_is_the_release_that_was_tried(stated):
    """What is older was never run with this suite, which CI runs with the pins."""
    match = BOUND.match(stated)
    assert match is not None, f"{stated} has no lower bound"
    name, bound = match.groups()
    pinned = pins()[plain(name)]
    assert pinned.split(".")[:2] == bound.split(".")[:2], f"{name}: tried with {pinned}"


@pytest.mark.parametrize("name", ["torch", "transformers", "numpy", "pytest"])
def test_what_runs_here_is_what_is_pinned(name):
    assert version(name).split("+")[0].split(".")[:2] == pins()[name].split(".")[:2]
