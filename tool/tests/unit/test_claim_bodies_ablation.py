"""Bodies of the claims about norms, on arrays small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.bodies import CLAIMS, Case, agrees, arr, body_value, prompts, untested

from refutable.measurement.subject import call

STUDY = "norm-ablation"

# Two prompts, two layers, two heads.
HEADS = prompts("prompt layer head", [[[1, 2], [3, 4]], [[5, 6], [6, 9]]])
MEANS = [2.5, 6.5]
AT_LOSS = prompts("prompt keys", [[0.3, 0.5], [0.4, 0.7]], keys=["all", "rest"])
TEXTS = arr("text", [0.5, 2.0, -1.0])
GRADIENTS = arr("layer text", [[1, 2], [3, 8]])
# On the even texts head (1, 0) is the largest in the mean; on the odd ones it gives 7 and 1.
ARCS = arr(
    "text layer head",
    [[[0, 1], [2, 1]], [[9, 9], [7, 9]], [[0, 1], [4, 1]], [[9, 9], [1, 9]]],
)
# Loss rises by 2 for each share of words, by 1 for each of characters.
NOISY = arr(
    "noise rate text",
    [[[1, 0], [2, 1], [3, 2]], [[1, 5], [1.5, 5.5], [2, 6]]],
    noise=["words", "characters"],
    rate=[0.0, 0.5, 1.0],
)
# Selectivities by block (the embedding, -1, does not count): half 0: 1, 3, 2.5; half 1: 5, 4, 9.
# Chosen on half 0 (best block 1, worst 0) and scored on half 1: 4 - 5; the other way: 2.5 - 3.
ACCURACY = arr(
    "kind half layer",
    [[[50, 2, 4, 3.5], [50, 6, 5, 10]], [[0, 1, 1, 1], [0, 1, 1, 1]]],
    kind=["task", "control"],
    layer=[-1, 0, 1, 2],
)
ALIGNMENT = arr(
    "estimator reference layer reference_layer",
    [
        [[[0.9, 0.9], [0.9, 0.9]], [[0.1, 0.1], [0.1, 0.1]]],
        [[[0.2, 0.4], [0.6, 0.8]], [[0.1, 0.1], [0.2, 0.2]]],
    ],
    estimator=["plain", "debiased"],
    reference=["layernorm-both", "gaussian"],
)
MATRICES = ["q", "k", "v", "o", "in", "out"]
SIZES = arr(
    "statistic matrix layer",
    [np.exp([[1, 1], [2, 2], [3, 3], [4, 4], [5, 7], [9, 9]]), np.full((6, 2), 99.0)],
    statistic=["sd", "mean"],
    matrix=MATRICES,
)
STEPS = arr(
    "batch round compared",
    [[[1, 9], [2, 8], [6, 1]], [[3, 0], [4, 0], [9, 5]]],
    compared=["rmsnorm", "layernorm-again"],
)
ENTROPY: Case = ({"attention_entropy": HEADS}, MEANS)
NUMBER = arr("", 0.4)
# A loss that does not rise has no logarithm.
LOG_RISE = [np.log(0.5), np.log(2.0), np.nan]


def along(quantity: str, unit: str) -> Case:
    """Two steps of a quantity between two others; the body takes it alone."""
    name = {"prompt": "prompts", "text": "documents", "": "model"}[unit]
    if not unit:
        table = arr("step quantity", [[9, 1, 8], [9, 3, 8]], quantity=["first", quantity, "last"])
        return {f"{name}_along_training": table}, [1, 3]
    values = [[[9, 9], [1, 2], [8, 8]], [[9, 9], [3, 4], [8, 8]]]
    table = arr(f"step quantity {unit}", values, quantity=["first", quantity, "last"])
    return {f"{name}_along_training": table}, [[1, 2], [3, 4]]


CASES: dict[str, Case] = {
    "ablation.diffuse-attention": ENTROPY,
    "ablation.attention-norm-lies-between": ENTROPY,
    "ablation.ffn-norm-lies-between": ENTROPY,
    "ablation.rmsnorm-before-attention-lies-between": ENTROPY,
    "ablation.rmsnorm-before-ffn-lies-between": ENTROPY,
    "ablation.diffuse-attention-without-positions": ENTROPY,
    "ablation.training-focuses-attention": ENTROPY,
    "ablation.training-focuses-attention-over-seeds": ENTROPY,
    "ablation.diffuse-attention-beside-sink": ({"attention_entropy_rest": HEADS}, MEANS),
    "ablation.diffuse-attention-at-equal-loss": (
        {"attention_entropy_at_loss": AT_LOSS},
        [0.3, 0.4],
    ),
    "ablation.diffuse-attention-beside-sink-at-equal-loss": (
        {"attention_entropy_at_loss": AT_LOSS},
        [0.5, 0.7],
    ),
    # xarray's deviation is that of the population: 0.5 and 0.5; 0.5 and 1.5.
    "ablation.balanced-heads": ({"attention_entropy": HEADS}, [0.5, 1.0]),
    "ablation.head-follows-words": ({"word_arcs": ARCS}, [7, 1]),
    "ablation.base-model-follows-words": ({"word_arcs": ARCS}, [7, 1]),
    "ablation.rmsnorm-reaches-loss": ({"held_out_loss": TEXTS}, [0.5, 2.0, -1.0]),
    "ablation.larger-gradients": ({"relative_gradient_norm": GRADIENTS}, [2, 5]),
    "ablation.larger-gradients-at-equal-loss": ({"relative_gradient_at_loss": GRADIENTS}, [2, 5]),
    "ablation.less-specialised-heads": ({"attention_head_distance": HEADS}, MEANS),
    "ablation.training-specialises-heads": ({"attention_head_distance": HEADS}, MEANS),
    "ablation.training-specialises-heads-over-seeds": ({"attention_head_distance": HEADS}, MEANS),
    "ablation.sharper-without-norms": ({"sharpness": TEXTS}, LOG_RISE),
    "ablation.sharper-without-norms-at-equal-loss": ({"sharpness_at_loss": TEXTS}, LOG_RISE),
    "ablation.random-steps-cost-loss": ({"sharpness": TEXTS}, [0.5, 2.0, -1.0]),
    "ablation.variance-grows-with-depth": ({"log_variance_slope": NUMBER}, 0.4),
    "ablation.variance-grows-without-norms": ({"log_variance_slope": NUMBER}, 0.4),
    "ablation.heavier-tails-without-norms": (
        {"residual_excess_kurtosis": prompts("prompt layer", [[1, 2], [3, 6]])},
        [1.5, 4.5],
    ),
    # Logs of the ratios are 1, 2, 3, 4, 6, 9 in the mean over layers, over initial values of 1.
    "ablation.training-enlarges-weights": (
        {
            "weight_sd": SIZES.sel(statistic="sd", drop=True),
            "initial_weight_sd": arr("matrix layer", np.ones((6, 2)), matrix=MATRICES),
        },
        25 / 6,
    ),
    "ablation.larger-attention-weights": ({"weight_statistics": SIZES}, 2.5),
    "ablation.larger-feed-forward-weights": ({"weight_statistics": SIZES}, 7.5),
    "ablation.noise-costs-loss": ({"noisy_loss": NOISY}, [2, 2]),
    "ablation.word-noise": ({"noisy_loss": NOISY}, [2, 2]),
    "ablation.norms-lower-loss": ({"noisy_loss": NOISY}, [1, 0]),
    "ablation.character-noise": ({"noisy_loss": NOISY}, [1, 1]),
    "ablation.blocks-encode-differently": ({"probe_accuracy": ACCURACY}, -0.75),
    "ablation.blocks-encode-differently-without-norms": ({"probe_accuracy": ACCURACY}, -0.75),
    "ablation.blocks-of-one-model-encode-differently": ({"probe_accuracy": ACCURACY}, -0.75),
    "ablation.norms-change-representations": (
        {"representation_kernel": arr("layer prompt", [[1, 2], [3, 4]])},
        [[1, 2], [3, 4]],
    ),
    "ablation.norm-kind-changes-representations": (
        {"representation_kernel": arr("layer prompt", [[1, 2], [3, 4]])},
        [[1, 2], [3, 4]],
    ),
    "ablation.representations-part": (
        {"kernel_along_training": arr("step prompt", [[1, 2], [3, 4]])},
        [[1, 2], [3, 4]],
    ),
    "ablation.another-model-is-alike": ({"representation_alignment": ALIGNMENT}, 0.5 - 0.15),
    "ablation.diffuse-attention-at-equal-loss-trained": along("entropy", "prompt"),
    "ablation.diffuse-attention-fades": along("entropy", "prompt"),
    "ablation.less-specialised-heads-fade": along("distance of heads", "prompt"),
    "ablation.variance-growth-lasts": along("slope of log variance", "prompt"),
    "ablation.larger-gradients-at-equal-loss-trained": along("relative gradient", "text"),
    "ablation.sharper-without-norms-at-equal-loss-trained": along("log sharpness", "text"),
    "ablation.word-heads-grow-with-norms": along("word arcs", "text"),
    "ablation.attention-weights-excess-fades": along("attention weights", ""),
    "ablation.feed-forward-weights-fall-behind": along("feed-forward weights", ""),
    "ablation.selectivity-grows-alike": along("selectivity", ""),
    "ablation.word-noise-difference-lasts": along("words", "text"),
    "ablation.character-noise-difference-fades": along("characters", "text"),
    "ablation.last-gain-differs-no-more": along("last block's gain", "prompt"),
    "ablation.heavy-tails-grow": along("excess kurtosis", "prompt"),
    "ablation.rmsnorm-loss-stays-alike": along("loss", "text"),
    "ablation.loss-without-norms-catches-up": along("loss", "text"),
    "ablation.tanh-helps-when-data-are-scarce": along("loss", "text"),
    "ablation.tanh-hurts-when-data-are-ample": along("loss", "text"),
    "ablation.tuned-rate-lowers-loss": along("loss", "text"),
    "ablation.rate-leaves-entropy": along("entropy", "prompt"),
    "ablation.rate-leaves-gradients": along("relative gradient", "text"),
    "ablation.rmsnorm-step-faster": ({"step_time_log_ratio": STEPS}, [2, 4]),
}


# The same bodies on twins of 14 million tokens, and on those at their best rate: `restated`.
for _arm in ("trained", "tuned"):
    CASES |= {
        f"{claim}-{_arm}": case
        for claim, case in CASES.items()
        if f"{claim}-{_arm}" in CLAIMS and f"{claim}-{_arm}" not in CASES
    }


@pytest.mark.parametrize("claim", CASES)
def test_a_body_by_hand(claim: str) -> None:
    observables, expected = CASES[claim]
    agrees(body_value(claim, observables), expected)


def test_the_placebo_times_two_equal_models() -> None:
    control: Any = CLAIMS["ablation.rmsnorm-step-faster"].control
    agrees(call(control.body, {"step_time_log_ratio": STEPS}, control.observables), [8, 0])


def test_no_claim_is_without_a_case() -> None:
    assert untested(STUDY, CASES) == set()
