"""Rows G1b and G2b over training runs: what training adds to the last block's growth.

A single model is one draw, as each untrained copy is. Here the training run is the unit, eight
seeds of each kind against nineteen untrained copies of their config, and prompt families are units
too. The form over seeds was added after the single twins had been seen; the regions are theirs.
"""

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import restated, untrained

SESOI = 0.02
ARMS = ("no-bos", "bos")


@claim(
    id="gain.layernorm-training-dampens-over-seeds",
    statement="Training with LayerNorm makes the last block grow the stream less.",
    refuted_if="over training seeds the trained minus the untrained log gain lies above -0.02",
    source=Source(study="last-block-gain", ref="G1b"),
    predicts=over_seeds("layernorm-both").below(-SESOI).against_control(),
    arms=ARMS,
    control=untrained(seeds=19),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_layernorm(log_growth):
    """Log gain of the last block, minus that of untrained models of the same config."""
    return log_growth.isel(layer=-1, drop=True)


@claim(
    id="gain.rmsnorm-training-expands-over-seeds",
    statement="Training with RMSNorm makes the last block grow the stream more.",
    refuted_if="over training seeds the trained minus the untrained log gain lies below +0.02",
    source=Source(study="last-block-gain", ref="G2b"),
    predicts=over_seeds("rmsnorm-both").above(SESOI).against_control(),
    arms=ARMS,
    control=untrained(seeds=19),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_rmsnorm(log_growth):
    """Log gain of the last block, minus that of untrained models of the same config."""
    return log_growth.isel(layer=-1, drop=True)


WHEN = "after 14 million tokens"
test_layernorm_trained = restated(test_layernorm, suffix="trained", when=WHEN)
test_rmsnorm_trained = restated(test_rmsnorm, suffix="trained", when=WHEN)
