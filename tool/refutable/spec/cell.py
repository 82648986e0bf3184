"""Which model, prompts and arm an item is about, and how items are named and ordered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from refutable.plugin.options import Options
from refutable.spec.claim import Claim

SEPARATOR = "@"


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the verdict matrix."""

    model: str
    """Id of the model, or ``a vs b`` for a claim about several."""
    models: tuple[str, ...]
    prompts: str
    arm: str
    grouped: bool = False
    """Whether the claim is about several models at once."""

    @property
    def label(self) -> str:
        """The parametrization id, safe in node ids and file names."""
        return SEPARATOR.join(slug(part) for part in (self.model, self.prompts, self.arm))


def slug(text: str) -> str:
    """Return a name that is safe in a node id, a file name and a shell."""
    return re.sub(r"[^A-Za-z0-9._,:=-]+", "-", text).strip("-") or "unnamed"


def cases_of(claim: Claim, options: Options, models: Sequence[str], prompts: str) -> list[Case]:
    """Return the cells of one claim, over models and arms."""
    arms = [arm for arm in claim.arms if not options.arms or arm in options.arms]
    chosen = options.prompts or claim.prompts or prompts
    if claim.predicts.grouped:
        title = claim.predicts.title
        return [Case(title, tuple(models), chosen, arm, True) for arm in arms]
    return [Case(model, (model,), chosen, arm) for model in models for arm in arms]


def case_of(item: pytest.Item) -> Case | None:
    """Return the cell an item is about, or ``None`` for an ordinary test."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("claim_case") if callspec is not None else None
    return case if isinstance(case, Case) else None


def claim_of(item: pytest.Item) -> Claim | None:
    """Return the claim an item carries, or ``None`` for an ordinary test."""
    found = getattr(getattr(item, "function", None), "__claim__", None)
    return found if isinstance(found, Claim) else None


def sort_model_by_model(items: list[pytest.Item]) -> None:
    """Order claim items model by model, claims over several models last; others stay in place."""
    places = [i for i, item in enumerate(items) if case_of(item) is not None]
    order: dict[str, int] = {}
    for i in places:
        case = case_of(items[i])
        assert case is not None  # noqa: S101  (places were chosen so)
        order.setdefault(case.model, len(order))

    def rank(item: pytest.Item) -> tuple[bool, int]:
        case = case_of(item)
        assert case is not None  # noqa: S101
        return case.grouped, order[case.model]

    ordered = sorted((items[i] for i in places), key=rank)
    for i, item in zip(places, ordered, strict=True):
        items[i] = item


def scope_of(nodeid: str) -> str:
    """Return what keeps items together on one xdist worker: the model; else the item itself."""
    found = re.search(r"\[([^\[\]@]+)@[^\[\]@]+@(?:no-)?bos\]$", nodeid)
    return f"model {found.group(1)}" if found else nodeid
