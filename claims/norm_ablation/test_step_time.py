"""Row N12: RMSNorm trains faster than LayerNorm. A statement about the machine that runs it."""

import math

from refutable import Source, claim
from refutable.claim import named
from refutable.predictions import mean

SESOI = math.log(1.02)


@claim(
    id="ablation.rmsnorm-step-faster",
    says="On this machine a twin's training step takes less time with RMSNorm than with LayerNorm.",
    refuted_if="it takes longer than 1 / 1.02 of the LayerNorm step's time",
    source=Source(study="norm-ablation", ref="N12"),
    models=named("twin-rmsnorm-both-*"),
    predicts=mean.below(-SESOI),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_step_time(step_time_log_ratio):
    """Log ratio of step times, interleaved; median of each batch of four pairs, batches as units.

    Neighbouring steps share the machine's state, so pairs are no units. Batches follow one another
    within a second; dependence that reaches farther is not covered by the interval.
    """
    return step_time_log_ratio.median("pair").rename(batch="prompt")
