"""Cells of the verdict matrix: which there are, what they are called, who measures them."""

from __future__ import annotations

from typing import Any

import pytest

from refutable import Source, claim, contrast, mean
from refutable.plugin.cases import scope_of
from refutable.spec.cell import Cell, cells_of, slug
from refutable.spec.claim import Claim


def made(**changes: Any) -> Claim:
    def body(residual_norm: Any) -> Any:
        """Norm."""
        return residual_norm

    fields: dict[str, Any] = {
        "id": "gain.grows", "statement": "s", "refuted_if": "r", "source": Source("study", "R"),
        "predicts": mean.above(0.0), "arms": ("no-bos", "bos"),
    }  # fmt: skip
    registered: Claim = claim(**{**fields, **changes})(body).__claim__
    return registered


def test_cells_are_models_times_arms() -> None:
    cells = cells_of(made(), ("a", "b"), default="default")
    assert [(c.model, c.arm) for c in cells] == [
        ("a", "no-bos"), ("a", "bos"), ("b", "no-bos"), ("b", "bos"),
    ]  # fmt: skip
    assert {c.prompts for c in cells} == {"default"}
    assert not any(c.grouped for c in cells)
    only = cells_of(made(), ("a",), arms=("bos",))
    assert [c.arm for c in only] == ["bos"]
    assert cells_of(made(arms=("no-bos",)), ("a",), arms=("bos",)) == []


def test_prompts_of_the_run_win_over_those_of_the_claim() -> None:
    named = made(prompts="its-own")
    assert {c.prompts for c in cells_of(named, ("a",))} == {"its-own"}
    assert {c.prompts for c in cells_of(named, ("a",), prompts="asked-for")} == {"asked-for"}


def test_a_claim_about_several_models_is_one_cell_an_arm() -> None:
    cells = cells_of(made(predicts=contrast("a", "b").above(0.0)), ("a", "b"))
    assert [(c.model, c.models, c.arm, c.grouped) for c in cells] == [
        ("a~b", ("a", "b"), "no-bos", True),
        ("a~b", ("a", "b"), "bos", True),
    ]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("EleutherAI/pythia-70m", "EleutherAI-pythia-70m"),
        ("mine.toml", "mine.toml"),
        ("a b[c]@d", "a-b-c-d"),
        ("§§", "unnamed"),
        ("five-registers:code,prose", "five-registers:code,prose"),
    ],
)
def test_names_are_safe_in_node_ids(name: str, safe: str) -> None:
    assert slug(name) == safe


def test_workers_are_keyed_by_model_and_ordinary_tests_by_themselves() -> None:
    def node(model: str, claim_name: str, arm: str) -> str:
        label = Cell(model, (model,), "five-registers", arm).label
        return f"claims/test_x.py::test_{claim_name}[{label}]"

    same = {scope_of(node("org/model", c, a)) for c in "abc" for a in ("no-bos", "bos")}
    assert same == {"model org-model"}
    assert scope_of(node("other", "a", "bos")) == "model other"
    for nodeid in ("tests/test_y.py::test_z", "tests/test_y.py::test_z[a@b]", "x::y[1-a@b@c]"):
        assert scope_of(nodeid) == nodeid
