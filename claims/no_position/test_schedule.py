"""Row T9: spikes of the loss come from a schedule that takes the larger instead of the smaller."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import over_seeds

SOURCE = Source(study="no-position", ref="T9")
# Nats by which the loss must rise from one step to the next to count as a spike.
SIZE = 0.1


def spikes(loss):
    """Number of steps whose loss exceeds that of the step before by more than SIZE."""
    return (loss.diff("step") > SIZE).sum("step")


@claim(
    id="noposition.spikes-from-schedule",
    statement="A learning rate that grows as max(step / 100, 1) makes the loss spike.",
    refuted_if="it does not add a spike to every seed's run on average",
    source=SOURCE,
    predicts=over_seeds("no-position").above(1.0),
    no_control="the quantity is less its null, the same seed under the steady schedule",
    kind="training",
    unit="spikes",
    margin=1.0,
)
def test_spikes_added_by_the_schedule(growing_rate_training_loss, constant_rate_training_loss):
    """Rises above 0.1 nats under max(step / 100, 1) minus under min, same seed, 1500 steps."""
    added = spikes(growing_rate_training_loss) - spikes(constant_rate_training_loss)
    return added.astype(np.float64)
