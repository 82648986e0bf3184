"""Row N6: norms keep activations stable over depth."""

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SOURCE = Source(study="norm-ablation", ref="N6")


@claim(
    id="ablation.variance-grows-without-norms",
    statement=(
        "Without norms inside the blocks the residual stream's variance grows faster with depth."
    ),
    refuted_if="its slope exceeds that with LayerNorm by less than 0.05 a block",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(0.05),
    control=untrained(seeds=5),
    unit="log variance per block",
    sesoi=0.05,
    margin=0.05,
)
def test_variance_slope(log_variance_slope):
    """Slope over blocks of the log variance over dims, tokens t >= 1, before the final norm."""
    return log_variance_slope


@claim(
    id="ablation.heavier-tails-without-norms",
    statement="Without norms inside the blocks activations have heavier tails.",
    refuted_if="their excess kurtosis exceeds that with LayerNorm by less than 0.1",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(0.1),
    control=untrained(seeds=5),
    unit="excess kurtosis",
    sesoi=0.1,
    margin=0.1,
)
def test_tails(residual_excess_kurtosis):
    """Excess kurtosis over dims of the residual stream, tokens t >= 1, mean over blocks."""
    return residual_excess_kurtosis.mean("layer")


WHEN = "after 14 million tokens"
test_variance_slope_trained = restated(test_variance_slope, suffix="trained", when=WHEN)
test_tails_trained = restated(test_tails, suffix="trained", when=WHEN)
test_variance_slope_tuned = at_best_rate(test_variance_slope)
test_tails_tuned = at_best_rate(test_tails)
