"""Cells of the verdict matrix for any names: their number, their labels and their order."""

from __future__ import annotations

import re
from itertools import product
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from refutable import Source, claim, mean
from refutable.plugin.cases import scope_of, sort_model_by_model
from refutable.spec.cell import Cell, cells_of, slug
from refutable.spec.claim import ARMS, Claim

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
arms = st.permutations(ARMS).flatmap(
    lambda order: st.integers(1, 2).map(lambda n: tuple(order[:n]))
)


def made(arms: tuple[str, ...], prompts: str | None) -> Claim:
    def body(residual_norm: Any) -> Any:
        """Norm."""
        return residual_norm

    registered: Claim = claim(
        id="gain.grows", statement="s", refuted_if="r", source=Source("study", "R"),
        predicts=mean.above(0.0), arms=arms, prompts=prompts,
    )(body).__claim__  # type: ignore[attr-defined]  # fmt: skip
    return registered


@given(
    models=st.lists(texts, unique=True, max_size=5),
    stated=arms,
    asked=st.just(()) | arms,
    prompts=st.tuples(st.none() | texts, st.none() | texts),
)
def test_every_model_meets_every_arm_that_both_sides_want_once(
    models: list[str], stated: tuple[str, ...], asked: tuple[str, ...], prompts: Any
) -> None:
    own_prompts = made(stated, prompts[1])
    cells = cells_of(own_prompts, models, prompts=prompts[0], arms=asked, default="default")
    wanted = [arm for arm in stated if not asked or arm in asked]
    assert [(c.model, c.arm) for c in cells] == list(product(models, wanted))
    assert all(c.models == (c.model,) for c in cells)
    assert {c.prompts for c in cells} <= {prompts[0] or prompts[1] or "default"}


@given(texts)
def test_a_slug_is_safe_everywhere_and_its_own_slug(text: str) -> None:
    measured = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9._,:=-]+", measured)
    assert measured == "unnamed" or not (measured.startswith("-") or measured.endswith("-"))
    assert slug(measured) == measured
    assert len(measured) <= max(len(text), len("unnamed"))


@given(model=texts, prompts=texts, arm=st.sampled_from(ARMS), test=st.from_regex(r"\A[a-z_]+\Z"))
def test_a_label_can_be_taken_apart_again(model: str, prompts: str, arm: str, test: str) -> None:
    label = Cell(model, (model,), prompts, arm).label
    assert label.split("@") == [slug(model), slug(prompts), arm]
    assert scope_of(f"claims/test_a@b.py::test_{test}[{label}]") == f"model {slug(model)}"
    # A test that is no claim, though its name holds a claim's label, is its own scope.
    for other in (f"test_y.py::test_{test}[{label}-x]", f"test_y.py::test_{label}"):
        assert scope_of(other) == other


cases = st.none() | st.builds(
    lambda model, grouped: Cell(model, (model,), "p", "bos", grouped),
    st.sampled_from("abc"),
    st.just(False),
) | st.just(Cell("a~b", ("a", "b"), "p", "bos", True))  # fmt: skip


@given(st.lists(cases, max_size=12))
def test_items_are_sorted_by_model_and_all_else_stays(cells: list[Cell | None]) -> None:
    items: list[Any] = [
        SimpleNamespace(number=n, callspec=SimpleNamespace(params={"claim_case": case}))
        for n, case in enumerate(cells)
    ]
    before = list(items)
    sort_model_by_model(items)
    assert sorted(i.number for i in items) == list(range(len(cells)))
    for old, new, case in zip(before, items, cells, strict=True):
        assert (old is new) or case is not None
    sorted_cases = [i.callspec.params["claim_case"] for i in items]
    cases = [case for case in sorted_cases if case is not None]
    # Each model is met once, the models in the order in which they came, groups at the end.
    met = list(dict.fromkeys(case.model for case in cases))
    assert [case.model for case in cases] == [m for m in met for case in cases if case.model == m]
    single = [c.model for c in cells if c is not None and not c.grouped]
    assert [m for m in met if m != "a~b"] == list(dict.fromkeys(single))
    assert "a~b" not in met[:-1]
    # Within a model the claims keep their order.
    for model in met:
        numbers = [
            i.number for i in items
            if (c := i.callspec.params["claim_case"]) is not None and c.model == model
        ]  # fmt: skip
        assert numbers == sorted(numbers)
