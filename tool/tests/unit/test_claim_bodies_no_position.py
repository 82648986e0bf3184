"""Bodies of the claims without positions, on arrays small enough to work out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.bodies import Case, agrees, arr, body_value, untested

from refutable.spec.references import reference

STUDY = "no-position"

AGREEMENT = arr("form layer", [[0.1, 0.2], [0.3, 0.4]], form=["published", "composed"])
MAPS = arr("layer", [0.7, 0.2])
UNIFORM = arr("layer keys head", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], keys=["all", "not BOS"])
# Looking back by one: the best layer of each head is 0.9 and 0.6.
BACK = arr("back layer head", [[[0.95, 1], [1, 0.99]], [[0.9, 0.2], [0.1, 0.6]]])
READOUT = arr(
    "site probe family",
    [[[9, 9], [8, 8], [7, 7]], [[0.9, 0.8], [0.2, 0.1], [0.4, 0.5]]],
    site=["embed", "blocks.0.resid_post"],
    probe=["trained", "shuffled", "untrained"],
)
# Falls with one over the position (counted from one) after the first five, which do not count.
FALL = np.r_[[7.0, 1, 9, 2, 5], 1 / np.arange(6, 21)]
VARIANCE = arr("training position", [FALL**2, FALL], training=["untrained", "trained"])
REPLACED = arr("site", [0.01, 0.02, 0.5], site=["intact", "blocks.1.attn.k", "embed"])
ATTRIBUTION = arr(
    "part position", [[1.0, 3.0], [2.0, 0.0], [6.0, 4.0]], part=["mlp 0", "head 0", "mlp 1"]
)
# The loss is first below 0.5 at step 2100, and below the bag's floor of 2.95 at 1150.
CURVE = arr("step", [6, 2.96, 2.94, 0.6, 0.4, 0.6], step=[0, 1100, 1150, 2000, 2100, 2200])
FLOOR = sum(math.log(k) for k in range(2, 50)) / 49
# One neuron follows the position, the other is active by chance: 256 sequences make 1 / 1024 of it.
ACTIVE = arr(
    "statistic layer neuron position",
    [[[[0, 1], [0.5, 0.5]], [[1, 1], [1, 1]]], [[[9, 9], [9, 9]], [[9, 9], [9, 9]]]],
    statistic=["share active", "mean"],
)
CHANCE = 0.25 / 256
SAME = {  # two names of one stream
    "blocks.0.resid_pre": "embed",
    "blocks.0.mlp.pre": "blocks.0.ln2.normalized",
    "blocks.0.mlp_out": "blocks.0.mlp.post",
    "blocks.0.attn_out": "blocks.0.attn.z",
}
PUBLISHED = {s: x for s, x in reference("no_position", "mean_replacement").items() if s not in SAME}
COUNT = len(PUBLISHED)


def replaced(ratios: Any) -> Any:
    """Published losses times something, and what does not count."""
    losses = [*(np.array([*PUBLISHED.values()]) * ratios), 99.0]
    return {"replaced_loss": arr("site", losses, site=[*PUBLISHED, "intact"])}


def swapped() -> Any:
    """Published losses of which two neighbours in size have changed places."""
    losses = np.array([*PUBLISHED.values()])
    first, second = np.argsort(losses)[[3, 4]]
    losses[[first, second]] = losses[[second, first]]
    return {"replaced_loss": arr("site", losses, site=[*PUBLISHED])}


def identities() -> Any:
    """Each pair is apart by a log ratio of 0.1, 0.2, 0.3, 0.4."""
    losses = dict.fromkeys([*SAME, *SAME.values()], 2.0)
    for place, name in enumerate(SAME, start=1):
        losses[name] *= math.exp(-0.1 * place)
    return {"replaced_loss": arr("site", list(losses.values()), site=list(losses))}


def curve() -> Any:
    """The published curve, off by 0.00, 0.01, ... 0.26 up and down; read every hundred steps."""
    published = np.array(reference("no_position", "loss", "published"))
    losses = np.full(2701, 1e6)
    losses[:2601:100] = published * np.exp(0.01 * np.arange(27) * (-1) ** np.arange(27))
    return {"training_loss": arr("step", losses)}


GROWING = arr("step", [1.0, 1.05, 1.2, 1.0, 1.3])  # rises by more than 0.1 twice
CONSTANT = arr("step", [1.0, 1.2, 1.0, 1.0, 1.05])  # once

CASES: dict[str, Case] = {
    "noposition.attribution-adds-up": ({"attribution_gap": arr("", 1e-5)}, 1e-5),
    "noposition.converges": ({"held_out_recall_loss": arr("", 0.005)}, 0.005),
    # The last twenty of twenty-two steps: 2 ... 21.
    "noposition.converges-live": ({"live_training_loss": arr("step", range(22))}, 11.5),
    "noposition.curve": (curve(), 0.13),
    "noposition.folding-exact": ({"rewriting_gap": arr("step", [1e-6, 3e-6, 2e-6])}, 3e-6),
    "noposition.knee": ({"training_loss": CURVE}, math.log(2100 / 2050)),
    # Means over positions are 2, 1 and 5.
    "noposition.last-mlp-writes-answer": ({"previous_token_attribution": ATTRIBUTION}, 5 / 8),
    "noposition.layer0-uniform": ({"distance_from_uniform": UNIFORM}, [1, 2]),
    "noposition.layer0-uniform-beside-bos": ({"distance_from_uniform": UNIFORM}, [3, 4]),
    "noposition.layer1-keys-noise": ({"replaced_loss": REPLACED}, math.log(2)),
    "noposition.layer1-keys-position": ({"loss_without_position": REPLACED}, math.log(2)),
    "noposition.neurons-follow-position": (
        {"neuron_activity": ACTIVE},
        (0.25 - CHANCE) / (0.25 - CHANCE + 0.25),
    ),
    "noposition.order-crossing": ({"training_loss": CURVE}, 1150),
    "noposition.order-not-bag": ({"held_out_recall_loss": arr("", 1.0)}, 1.0 - FLOOR),
    "noposition.ov-layer0": ({"output_value_map_agreement": MAPS}, 0.7),
    "noposition.ov-layer1": ({"output_value_map_agreement": MAPS}, 0.2),
    "noposition.position-learned": ({"position_readout": READOUT}, [0.5, 0.3]),
    "noposition.position-readable": ({"position_readout": READOUT}, [0.7, 0.7]),
    "noposition.positions-stay-zero": (
        {"position_table_norm": arr("training", [0.0, 0.25])},
        0.25,
    ),
    "noposition.previous-token-head": ({"attention_looking_back": BACK}, [0.9, 0.6]),
    "noposition.qk-layer0": ({"score_agreement": AGREEMENT}, 0.1),
    "noposition.qk-layer0-composed": ({"score_agreement": AGREEMENT}, 0.3),
    "noposition.qk-layer1": ({"score_agreement": AGREEMENT}, 0.2),
    "noposition.qk-layer1-path": ({"query_key_map_agreement": MAPS}, 0.2),
    "noposition.replacement-identities": (identities(), 0.4),
    "noposition.replacement-ranks": (swapped(), 1 - 12 / (COUNT * (COUNT**2 - 1))),
    "noposition.replacement-sizes": (
        replaced(np.exp(0.1 * np.arange(COUNT) * (-1) ** np.arange(COUNT))),
        0.1 * (COUNT - 1) / 2,
    ),
    "noposition.spikes-from-schedule": (
        {"growing_rate_training_loss": GROWING, "constant_rate_training_loss": CONSTANT},
        1.0,
    ),
    "noposition.variance-trained": ({"attention_output_variance": VARIANCE}, -1.0),
    "noposition.variance-untrained": ({"attention_output_variance": VARIANCE}, -2.0),
}


@pytest.mark.parametrize("claim", CASES)
def test_a_body_by_hand(claim: str) -> None:
    observables, expected = CASES[claim]
    agrees(body_value(claim, observables), expected)


def test_no_claim_is_without_a_case() -> None:
    assert untested(STUDY, CASES) == set()
