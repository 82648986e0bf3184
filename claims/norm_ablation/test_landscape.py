"""Row N10: norms make the loss landscape smooth."""

import math

import numpy as np

from refutable import Source, claim
from refutable.predictions import contrast

SESOI = math.log(1.1)


@claim(
    id="ablation.sharper-without-norms",
    says="Without norms inside the blocks the loss landscape is sharper.",
    refuted_if="the loss rises by less than 10 % more than with LayerNorm at the same distance",
    source=Source(study="norm-ablation", ref="N10"),
    predicts=contrast("none", "layernorm-both").above(SESOI),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_sharpness(sharpness):
    """Log of the loss rise at .2 along filter-normalized random directions, by document."""
    return np.log(sharpness).rename(text="prompt")
