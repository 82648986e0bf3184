"""Row N5: norms change how specialised the heads of a block are."""

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SESOI = 0.02


@claim(
    id="ablation.less-specialised-heads",
    statement="Without norms inside the blocks the heads of a block attend more alike.",
    refuted_if="the heads' distance without norms is not lower than with LayerNorm by 0.02",
    source=Source(study="norm-ablation", ref="N5"),
    predicts=contrast("none", "layernorm-both").below(-SESOI),
    control=untrained(seeds=5),
    unit="Jensen-Shannon distance",
    sesoi=SESOI,
    margin=SESOI,
)
def test_head_distance(attention_head_distance):
    """Mean pairwise Jensen-Shannon distance of a block's heads, rows t >= 1, mean over blocks."""
    return attention_head_distance.mean(("layer", "head"))


WHEN = "after 14 million tokens"
test_head_distance_trained = restated(test_head_distance, suffix="trained", when=WHEN)
test_head_distance_tuned = at_best_rate(test_head_distance)
