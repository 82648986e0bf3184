"""Row G7 and the depth profile: how much the stream grows in all, and where."""

import numpy as np

from refutable import Source, claim, mean, replication, trend, untrained
from refutable.spec.claim import at_least_blocks

ARMS = ("no-bos", "bos")


def raw_amplification(residual_norm):
    """Ratio of the norms after the last and the first block, one value per prompt."""
    first = residual_norm.isel(layer=0, drop=True)
    return residual_norm.isel(layer=-1, drop=True) / first


@claim(
    id="gain.total-amplification",
    statement="From the first block's output to the last the residual stream grows 15 to 25 fold.",
    refuted_if="the mean log amplification lies outside ln 15 to ln 25",
    source=Source(study="last-block-gain", ref="G7"),
    arms=ARMS,
    predicts=mean.within(np.log(15.0), np.log(25.0)),
    control=untrained(seeds=19),
    replication=replication(
        raw_amplification,
        statement="Mean raw amplification, the prompts taken as independent.",
        above=15.0,
        below=25.0,
    ),
    unit="log ratio",
    sesoi=0.1,
    margin=0.1,
)
def test_total_amplification(residual_norm):
    """Log of |h_L| / |h_1| at the last token; h_1 is the output of block 0."""
    first = residual_norm.isel(layer=0, drop=True)
    return np.log(residual_norm.isel(layer=-1, drop=True) / first)


@claim(
    id="gain.growth-slows-with-depth",
    statement="The deeper the block, the less it grows the residual stream.",
    refuted_if="the slope of log growth over depth lies above 0",
    source=Source(study="last-block-gain", ref="G1", citation="depth profile beside the rows"),
    models=at_least_blocks(5),
    arms=ARMS,
    predicts=trend(over="layer").below(0.0),
    control=untrained(seeds=19),
    unit="log ratio per block",
    margin=0.005,
)
def test_growth_over_depth(log_growth):
    """Slope over blocks of the log growth at the last token, one slope per prompt."""
    return log_growth
