"""Row T2: the loss falls along the published curve."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.references import reference

SOURCE = Source(study="no-position", ref="T2")
KNEE_STEP, KNEE_LOSS = 2050, 0.5


@claim(
    id="noposition.knee",
    statement="The loss falls to 0.5 nats near step 2050.",
    refuted_if="the mean step lies more than 10 % from 2050",
    source=SOURCE,
    predicts=over_seeds("no-position").within(np.log(0.9), np.log(1.1)),
    no_control="no curve without training: it is held against the published step",
    kind="training",
    unit="log ratio",
    margin=0.05,
)
def test_step_of_the_knee(training_loss):
    """Log ratio of the first step with a loss below 0.5 nats to the published 2050."""
    below = training_loss.step.where(training_loss < KNEE_LOSS)
    return np.log(below.min() / KNEE_STEP)


@claim(
    id="noposition.curve",
    statement="The loss follows the published curve from start to step 2600.",
    refuted_if="the median distance to the published points lies above 0.1 on the log scale",
    source=SOURCE,
    predicts=over_seeds("no-position").below(0.1),
    no_control="no curve without training: it is held against the published one",
    kind="training",
    unit="log ratio",
    margin=0.05,
)
def test_distance_to_the_published_curve(training_loss):
    """Median absolute log ratio of the loss to the published one at 27 steps, 0 to 2600."""
    published = reference("no_position", "loss", "published")
    measured = training_loss.sel(step=slice(0, 2600, 100))
    return abs(np.log(measured / np.array(published))).median()
