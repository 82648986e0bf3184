"""Row N10: norms make the loss landscape smooth."""

import math

import numpy as np

from refutable import Source, claim
from refutable.predictions import contrast, mean
from refutable.spec.claim import reads_text, restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SOURCE = Source(study="norm-ablation", ref="N10")
SESOI = math.log(1.1)
UNDEFINED = "an untrained model's loss does not rise on every document: the log has no value"


def log_rise(sharpness):
    """Log of a rise by document; undefined where the loss does not rise."""
    return np.log(sharpness.where(sharpness > 0)).rename(text="prompt")


@claim(
    id="ablation.sharper-without-norms",
    statement="Without norms inside the blocks the loss landscape is sharper.",
    refuted_if="the loss rises by less than 10 % more than with LayerNorm at the same distance",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    no_control=UNDEFINED,
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_sharpness(sharpness):
    """Log of the loss rise at .2 along filter-normalized random directions, by document."""
    return log_rise(sharpness)


@claim(
    id="ablation.sharper-without-norms-at-equal-loss",
    statement=(
        "Without norms inside the blocks the loss landscape is sharper at the same loss, too."
    ),
    refuted_if="at 4.95 nats held out the loss rises by less than 10 % more than with LayerNorm",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    no_control=UNDEFINED,
    kind="training",
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_sharpness_at_equal_loss(sharpness_at_loss):
    """Log of the loss rise at .2 along random directions, where the loss passed 4.95 nats."""
    return log_rise(sharpness_at_loss)


@claim(
    id="ablation.random-steps-cost-loss",
    statement="A random step of a fifth of every filter raises the loss of a trained model.",
    refuted_if="the loss rises by less than 0.01 nats",
    source=SOURCE,
    models=reads_text(),
    predicts=mean.above(0.01),
    control=untrained(seeds=5),
    unit="nats",
    sesoi=0.01,
    margin=0.01,
)
def test_sharpness_of_one_model(sharpness):
    """Rise of the loss at .2 along filter-normalized random directions, by document.

    The bound was set after the embedded tiny LayerNorm model had been seen to rise by 0.04.
    """
    return sharpness.rename(text="prompt")


WHEN = "after 14 million tokens"
test_sharpness_trained = restated(test_sharpness, suffix="trained", when=WHEN)
test_sharpness_tuned = at_best_rate(test_sharpness)
