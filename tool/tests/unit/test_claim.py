"""The form of a claim: what is refused, what it states, about which models it speaks."""

from __future__ import annotations

from typing import Any

import pytest

from refutable import Source, claim, equals, every, mean, normalized_by, replication, untrained
from refutable import claim as claim_decorator
from refutable.errors import ClaimError
from refutable.records import ModelFacts, Region
from refutable.spec.claim import (
    Claim,
    ClaimRegistry,
    any_model,
    at_least_blocks,
    at_least_heads,
    named,
    positioned_by,
    shuffled,
)

FACTS = ModelFacts(
    "some-model", "GPT2LMHeadModel", "LayerNorm", 12, 8, 64, 100, 128, 10**6, True, "learned",
    True, None, False,
)  # fmt: skip


def body(residual_norm: Any) -> Any:
    """Log gain of the
    last block.

    Notes
    -----
    This part is not in the quantity.
    """
    return residual_norm


def make(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "gain.grows",
        "statement": "It grows.",
        "refuted_if": "it does not",
        "source": Source("study", "R1", "Someone 2026"),
        "predicts": mean.above(0.25),
    }

    def fresh(residual_norm: Any) -> Any:
        """Log gain."""
        return residual_norm

    function = changes.pop("function", fresh)
    registered: Claim = claim(**{**fields, **changes})(function).__claim__  # type: ignore[attr-defined]
    return registered


def test_a_claim_states_what_it_was_given_and_what_its_body_says() -> None:
    made = make(
        function=body,
        models=normalized_by("LayerNorm"),
        control=untrained(seeds=3),
        unit="log ratio",
        sesoi=0.1,
        margin=0.02,
    )
    assert made.observables == ("residual_norm",)
    report = made.report()
    assert report.quantity == "Log gain of the last block."
    assert report.predicted == "mean over families above 0.25"
    assert report.region == Region(0.25, None)
    assert report.applies_to == "models normalized by LayerNorm"
    assert report.control == "3 seeds of untrained models of the same config"
    assert (report.study, report.ref, report.citation) == ("study", "R1", "Someone 2026")
    assert (report.unit, report.sesoi, report.margin) == ("log ratio", 0.1, 0.02)
    assert report.sampled
    assert not make(predicts=equals(3)).report().sampled
    assert made.arms == ("no-bos",)
    # The function itself is left as it was.
    assert body(7) == 7


def no_docstring(residual_norm: Any) -> Any:
    return residual_norm


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "Gain.x"}, "expected id like 'gain.layernorm-dampens', got id='Gain.x'"),
        ({"id": "gain"}, "expected id like"),
        ({"id": "gain.two--dashes"}, "expected id like"),
        ({"id": ""}, "expected id to be a non-empty string, got id=''"),
        ({"statement": " "}, "expected statement to be a non-empty string"),
        ({"refuted_if": ""}, "expected refuted_if to be a non-empty string"),
        ({"kind": "causal"}, "got kind='causal' in claim gain.grows"),
        ({"arms": ("sideways",)}, r"got arms=\('sideways',\) in claim gain.grows"),
        ({"arms": ()}, "expected arms from"),
        ({"function": no_docstring}, "claim gain.grows has no docstring: say in one line"),
    ],
)
def test_malformed_claims_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ClaimError, match=expected):
        make(**changes)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: untrained(seeds=0), "expected seeds of 1 or more, got seeds=0"),
        (lambda: normalized_by("BatchNorm"), "got kind='BatchNorm'"),
        (lambda: positioned_by("cyclic"), "got kind='cyclic'"),
        (lambda: mean.within(1.0, 1.0), "expected low < high, got low=1.0, high=1.0"),
        (lambda: every.below(float("nan")), "expected finite bounds"),
    ],
)
def test_malformed_parts_are_refused(call: Any, expected: str) -> None:
    with pytest.raises(ClaimError, match=expected):
        call()


@pytest.mark.parametrize(
    ("applies", "reason"),
    [
        (any_model(), None),
        (normalized_by("LayerNorm"), None),
        (normalized_by("RMSNorm"), "the claim is about RMSNorm, some-model is normalized by Layer"),
        (positioned_by("learned"), None),
        (positioned_by("rotary"), "about rotary positions, those of some-model are learned"),
        (at_least_blocks(12), None),
        (at_least_blocks(13), "needs 13 blocks, some-model has 12"),
        (at_least_heads(9), "needs 9 heads, some-model has 8"),
        (named("some-*", "gpt2"), None),
        (named("gpt2"), "the claim is about gpt2, not about some-model"),
        (normalized_by("LayerNorm") & at_least_blocks(2), None),
        (normalized_by("RMSNorm") & at_least_blocks(13), "the claim is about RMSNorm"),
        (at_least_blocks(2) & at_least_blocks(13), "needs 13 blocks"),
    ],
)
def test_models_a_claim_speaks_about(applies: Any, reason: str | None) -> None:
    why = applies.reason(FACTS)
    if reason is None:
        assert why is None
    else:
        assert reason in why


def test_controls_and_replications_are_worded() -> None:
    assert shuffled(seeds=2).statement == "2 seeds of the same prompts with their tokens shuffled"
    spec = replication(body, statement="as published", above=1.0, published={"gpt2": 1.2})
    assert spec.region == Region(1.0, None)
    assert dict(spec.published) == {"gpt2": 1.2}


def test_an_id_belongs_to_one_function_and_collection_ends() -> None:
    registry = ClaimRegistry()
    first, second = make(id="gain.b"), make(id="gain.a", function=body)
    registry.add(first)
    registry.add(second)
    # The same function may be met again, as when a module is imported under two names.
    registry.add(make(id="gain.b"))
    assert [c.id for c in registry] == ["gain.a", "gain.b"]
    assert len(registry) == 2
    with pytest.raises(ClaimError, match=r"claim id 'gain.b' is used by .*:fresh and .*:body"):
        registry.add(make(id="gain.b", function=body))
    with pytest.raises(ClaimError, match="asks for 'residual_norm', not an observable"):
        registry.freeze(["embedding_norm"])
    registry.freeze(["residual_norm"])
    with pytest.raises(ClaimError, match="arrived after collection"):
        registry.add(make(id="gain.c"))


def test_the_decorator_stays_itself_after_the_module_is_imported() -> None:
    import refutable

    # This must not put the module where the decorator of the same name belongs.
    import refutable.spec.claim

    assert refutable.claim is claim_decorator
    assert callable(refutable.claim)
