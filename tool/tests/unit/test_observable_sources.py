"""One decorator for all observables: what it is made from is its `source`."""

from __future__ import annotations

import pytest

from refutable.errors import ClaimError
from refutable.observables.registry import REGISTRY, observable


def test_each_observable_has_one_source() -> None:
    sources = {}
    for item in REGISTRY:
        makers = (item.function, item.recorder, item.experiment, item.weights)
        (sources[item.name],) = [at for at, maker in enumerate(makers) if maker is not None]
        assert bool(item.needs) == (item.function is not None), item.name
    assert set(sources.values()) == {0, 1, 2, 3}


def test_a_source_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ClaimError, match=r"called 'weight': did you mean weights"):
        observable(dims=("layer",), source="weight")  # type: ignore[call-overload]


@pytest.mark.parametrize("source", ["observables", "model", "weights"])
def test_what_says_nothing_is_refused(source: str) -> None:
    def wordless(weights: object) -> object:
        return weights

    with pytest.raises(ClaimError, match="'wordless' has no docstring"):
        observable(dims=("layer",), source=source)(wordless)  # type: ignore[call-overload]
    assert "wordless" not in REGISTRY
