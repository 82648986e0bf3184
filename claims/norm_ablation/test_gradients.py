"""Row N4: ablated models have larger gradients."""

import math

from refutable import Source, claim
from refutable.predictions import contrast


@claim(
    id="ablation.larger-gradients",
    says="Without norms inside the blocks gradients are larger relative to the weights.",
    refuted_if="they exceed those with LayerNorm by less than 10 % at equal steps",
    source=Source(study="norm-ablation", ref="N4"),
    predicts=contrast("none", "layernorm-both").above(math.log(1.1)),
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_relative_gradient(relative_gradient_norm):
    """Log of gradient norm over weight norm of a block's matrices, by held-out document."""
    return relative_gradient_norm.mean("layer").rename(text="prompt")
