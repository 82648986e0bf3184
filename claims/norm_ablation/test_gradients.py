"""Row N4: ablated models have larger gradients."""

import math

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated
from refutable.studies.norm_ablation.arms import at_best_rate

SOURCE = Source(study="norm-ablation", ref="N4")
SCALE = "untrained models of the two kinds differ by the scale of their streams alone, fivefold"


@claim(
    id="ablation.larger-gradients",
    statement="Without norms inside the blocks gradients are larger relative to the weights.",
    refuted_if="they exceed those with LayerNorm by less than 10 % at equal steps",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(math.log(1.1)),
    no_control=SCALE,
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_relative_gradient(relative_gradient_norm):
    """Log of gradient norm over weight norm of a block's matrices, by held-out document."""
    return relative_gradient_norm.mean("layer").rename(text="prompt")


@claim(
    id="ablation.larger-gradients-at-equal-loss",
    statement="Without norms gradients are larger relative to the weights at the same loss, too.",
    refuted_if="at 4.95 nats held out they exceed those with LayerNorm by less than 10 %",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(math.log(1.1)),
    no_control=SCALE,
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_relative_gradient_at_equal_loss(relative_gradient_at_loss):
    """Log of gradient norm over weight norm by document, where the loss passed 4.95 nats."""
    return relative_gradient_at_loss.mean("layer").rename(text="prompt")


WHEN = "after 14 million tokens"
test_relative_gradient_trained = restated(test_relative_gradient, suffix="trained", when=WHEN)
test_relative_gradient_tuned = at_best_rate(test_relative_gradient)
