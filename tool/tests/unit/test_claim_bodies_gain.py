"""Bodies of the claims about the last block's gain, on arrays small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.bodies import Case, agrees, body_value, prompts, replicated, untested

STUDY = "last-block-gain"

# Two prompts, eight blocks that grow: the last by 0.5 and -1, the five before by 4 and 2 in the
# mean. The block before those five (100, -100) belongs to none of the two.
GROWTH = prompts(
    "prompt layer",
    [[7, 100, 1, 2, 3, 4, 10, 0.5], [7, -100, 2, 2, 2, 2, 2, -1.0]],
)
LAST = [0.5, -1.0]
# Norms after three blocks: the last gain is 2 and 0.5, the whole way 4 and 3.
NORMS = prompts("prompt layer", [[1, 2, 4], [2, 12, 6]])
ENTROPY = prompts("prompt", [1.5, 2.5])
TOKENS = prompts("prompt", [1, 2])

CASES: dict[str, Case] = {
    "gain.layernorm-dampens": ({"log_growth": GROWTH}, LAST),
    "gain.rmsnorm-expands": ({"log_growth": GROWTH}, LAST),
    "gain.layernorm-last-block-dampens-more": ({"log_growth": GROWTH}, [0.5 - 4, -1.0 - 2]),
    "gain.rmsnorm-last-block-expands-more": ({"log_growth": GROWTH}, [0.5 - 4, -1.0 - 2]),
    "gain.layernorm-training-dampens": ({"log_growth": GROWTH}, LAST),
    "gain.rmsnorm-training-expands": ({"log_growth": GROWTH}, LAST),
    "gain.layernorm-training-dampens-over-seeds": ({"log_growth": GROWTH}, LAST),
    "gain.rmsnorm-training-expands-over-seeds": ({"log_growth": GROWTH}, LAST),
    "gain.layernorm-dampens-all-tokens": ({"log_growth_all_tokens": GROWTH}, LAST),
    "gain.rmsnorm-expands-all-tokens": ({"log_growth_all_tokens": GROWTH}, LAST),
    # A prompt of one token is not in the domain.
    "gain.layernorm-dampens-every-prompt": ({"log_growth": GROWTH, "n_tokens": TOKENS}, [-1.0]),
    "gain.rmsnorm-expands-every-prompt": ({"log_growth": GROWTH, "n_tokens": TOKENS}, [-1.0]),
    "gain.layernorm-entropy-negative": (
        {"log_growth": GROWTH, "next_token_entropy": ENTROPY},
        ([0.5, 1.0], [1.5, 2.5]),
    ),
    "gain.rmsnorm-entropy-positive": (
        {"log_growth": GROWTH, "next_token_entropy": ENTROPY},
        ([0.5, 1.0], [1.5, 2.5]),
    ),
    "gain.register-orders-entropy": ({"next_token_entropy": ENTROPY}, [1.5, 2.5]),
    "gain.register-orders-gain": ({"log_growth": GROWTH}, LAST),
    "gain.norm-kind-decides": ({"log_growth": GROWTH}, LAST),
    "gain.total-amplification": ({"residual_norm": NORMS}, [np.log(4), np.log(3)]),
    "gain.growth-slows-with-depth": ({"log_growth": GROWTH}, GROWTH.values),
    "gain.xl-matches-pythia": ({"residual_norm": NORMS}, [2.0, 0.5]),
}

AS_STUDIED: dict[str, Case] = {
    "gain.layernorm-dampens": ({"residual_norm": NORMS}, [2.0, 0.5]),
    "gain.rmsnorm-expands": ({"residual_norm": NORMS}, [2.0, 0.5]),
    "gain.total-amplification": ({"residual_norm": NORMS}, [4.0, 3.0]),
    "gain.layernorm-entropy-negative": (
        {"residual_norm": NORMS, "next_token_entropy": ENTROPY},
        ([1.0, 0.5], [1.5, 2.5]),
    ),
    "gain.rmsnorm-entropy-positive": (
        {"residual_norm": NORMS, "next_token_entropy": ENTROPY},
        ([1.0, 0.5], [1.5, 2.5]),
    ),
}


CASES["gain.norm-kind-decides-trained"] = CASES["gain.norm-kind-decides"]
for _kind in ("layernorm-training-dampens", "rmsnorm-training-expands"):
    CASES[f"gain.{_kind}-over-seeds-trained"] = CASES[f"gain.{_kind}-over-seeds"]


@pytest.mark.parametrize("claim", CASES)
def test_a_body_by_hand(claim: str) -> None:
    observables, expected = CASES[claim]
    agrees(body_value(claim, observables), expected)


@pytest.mark.parametrize("claim", AS_STUDIED)
def test_the_studys_own_quantity_by_hand(claim: str) -> None:
    observables, expected = AS_STUDIED[claim]
    agrees(replicated(claim, observables), expected)


def test_no_claim_is_without_a_case() -> None:
    assert untested(STUDY, CASES) == set()


def test_values_keep_their_families() -> None:
    returned: Any = body_value("gain.layernorm-last-block-dampens-more", {"log_growth": GROWTH})
    assert list(returned["family"].values) == ["f0", "f0"]
