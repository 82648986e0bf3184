"""Row G8: it is the kind of norm, not the family: models that differ in the norm alone."""

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained

SESOI = 0.02
SOURCE = Source(study="last-block-gain", ref="G8")


@claim(
    id="gain.norm-kind-decides",
    statement="Swapping LayerNorm for RMSNorm alone makes the last block expand more.",
    refuted_if="LayerNorm's log gain is not lower than RMSNorm's by 0.02 over training seeds",
    source=SOURCE,
    predicts=contrast("layernorm-both", "rmsnorm-both").below(-SESOI),
    arms=("no-bos", "bos"),
    control=untrained(seeds=19),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_norm_swapped(log_growth):
    """Log of |h_L| / |h_(L-1)| at the last token, before the final norm; one value per prompt."""
    return log_growth.isel(layer=-1, drop=True)


WHEN = "after 14 million tokens"
test_norm_swapped_trained = restated(test_norm_swapped, suffix="trained", when=WHEN)
