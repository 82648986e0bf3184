"""Row T3: it learns the order of the tokens, not the bag they came in."""

import math

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo

SOURCE = Source(study="no-position", ref="T3")
UNTRAINED = "the study's own models before training, one for each seed"
# Guessing uniformly among the t tokens before position t costs ln t: the mean over t = 1..49.
BAG = math.lgamma(50) / 49


def untrained_below_the_floor(untrained_replaced_loss):
    """The same before training, nothing replaced, of 128 held-out sequences."""
    return untrained_replaced_loss.sel(site="intact") - BAG


@claim(
    id="noposition.order-not-bag",
    statement="The model knows the order of the tokens and not merely which ones have occurred.",
    refuted_if="the loss lies less than 1 nat below that of guessing among the preceding tokens",
    source=SOURCE,
    predicts=over_seeds("no-position").below(-1.0),
    control=placebo(untrained_below_the_floor, statement=UNTRAINED),
    sesoi=0.1,
    kind="training",
    unit="nats",
    margin=0.1,
)
def test_loss_below_the_bag_floor(held_out_recall_loss):
    """Held-out loss minus ln(49!) / 49 = 2.950, the loss of guessing among preceding tokens."""
    return held_out_recall_loss - BAG


@claim(
    id="noposition.order-crossing",
    statement="The loss crosses the bag-of-tokens floor between steps 1100 and 1200.",
    refuted_if="the mean crossing step lies outside 1100 to 1200",
    source=SOURCE,
    predicts=over_seeds("no-position").within(1100, 1200),
    no_control="no curve without training: its first step lies above the floor",
    kind="training",
    unit="steps",
    margin=50,
)
def test_step_of_crossing(training_loss):
    """First step with a training loss below 2.950 nats."""
    return training_loss.step.where(training_loss < BAG).min()
