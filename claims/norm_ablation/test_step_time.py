"""Row N12: RMSNorm trains faster than LayerNorm. A statement about the machine that runs it."""

import math

from refutable import Source, claim
from refutable.predictions import mean
from refutable.spec.claim import named, placebo

SESOI = math.log(1.02)


def batches(step_time_log_ratio, compared):
    """Median log ratio of each batch; batches are the units."""
    ratios = step_time_log_ratio.sel(compared=compared, drop=True)
    return ratios.median("round").rename(batch="prompt")


def equal_models(step_time_log_ratio):
    """The same of two equal LayerNorm models, timed in the same rounds."""
    return batches(step_time_log_ratio, "layernorm-again")


@claim(
    id="ablation.rmsnorm-step-faster",
    statement=(
        "On this machine a twin's training step takes less time with RMSNorm than with LayerNorm."
    ),
    refuted_if="it saves less than 2 % beyond what two equal LayerNorm models differ by",
    source=Source(study="norm-ablation", ref="N12"),
    models=named("twin-rmsnorm-both-*"),
    predicts=mean.below(-SESOI).against_control(),
    control=placebo(equal_models, statement="two equal LayerNorm models timed in the same rounds"),
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_step_time(step_time_log_ratio):
    """Log ratio of step times, interleaved; median of each batch of four rounds, batches as units.

    The two equal models are timed in the same rounds, and their ratio is taken off: what the
    machine does meanwhile meets both. Neighbouring steps share its state, so rounds are no units.
    """
    return batches(step_time_log_ratio, "rmsnorm")
