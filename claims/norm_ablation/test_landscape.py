"""Row N10: norms make the loss landscape smooth."""

import math

import numpy as np

from refutable import Source, claim
from refutable.predictions import contrast

SOURCE = Source(study="norm-ablation", ref="N10")
SESOI = math.log(1.1)


@claim(
    id="ablation.sharper-without-norms",
    says="Without norms inside the blocks the loss landscape is sharper.",
    refuted_if="the loss rises by less than 10 % more than with LayerNorm at the same distance",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_sharpness(sharpness):
    """Log of the loss rise at .2 along filter-normalized random directions, by document."""
    return np.log(sharpness).rename(text="prompt")


@claim(
    id="ablation.sharper-without-norms-at-equal-loss",
    says="Without norms inside the blocks the loss landscape is sharper at the same loss, too.",
    refuted_if="at 4.95 nats held out the loss rises by less than 10 % more than with LayerNorm",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_sharpness_at_equal_loss(sharpness_at_loss):
    """Log of the loss rise at .2 along random directions, where the loss passed 4.95 nats."""
    return np.log(sharpness_at_loss).rename(text="prompt")
