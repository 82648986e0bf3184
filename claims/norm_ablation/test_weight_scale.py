"""Row N8: norms change the scale of the weights. Biases and norm gains are left out."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SOURCE = Source(study="norm-ablation", ref="N8")
LOG_SESOI = 0.05


@claim(
    id="ablation.larger-attention-weights",
    statement="Without norms inside the blocks the matrices of attention become larger.",
    refuted_if="their log standard deviation exceeds that with LayerNorm by less than 0.05",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(LOG_SESOI),
    control=untrained(seeds=5),
    kind="weights",
    unit="log ratio",
    sesoi=LOG_SESOI,
    margin=LOG_SESOI,
)
def test_attention_weights(weight_statistics):
    """Log standard deviation of W_Q, W_K, W_V and W_O, mean over matrices and blocks."""
    spread = weight_statistics.sel(statistic="sd", matrix=["q", "k", "v", "o"])
    return np.log(spread).mean(("layer", "matrix"))


@claim(
    id="ablation.larger-feed-forward-weights",
    statement="Without norms inside the blocks the matrices of the feed-forward become larger.",
    refuted_if="their log standard deviation exceeds that with LayerNorm by less than 0.05",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(LOG_SESOI),
    control=untrained(seeds=5),
    kind="weights",
    unit="log ratio",
    sesoi=LOG_SESOI,
    margin=LOG_SESOI,
)
def test_feed_forward_weights(weight_statistics):
    """Log standard deviation of the two matrices of the feed-forward, mean over blocks."""
    spread = weight_statistics.sel(statistic="sd", matrix=["in", "out"])
    return np.log(spread).mean(("layer", "matrix"))


WHEN = "after 14 million tokens"
test_attention_weights_trained = restated(test_attention_weights, suffix="trained", when=WHEN)
test_feed_forward_weights_trained = restated(test_feed_forward_weights, suffix="trained", when=WHEN)
test_attention_weights_tuned = at_best_rate(test_attention_weights)
test_feed_forward_weights_tuned = at_best_rate(test_feed_forward_weights)
