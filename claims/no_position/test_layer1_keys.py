"""Row T6: layer 1's keys carry little about the tokens, but they do carry position."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo

SOURCE = Source(study="no-position", ref="T6")
UNTRAINED = "the study's own models before training, one for each seed"
KEYS = "blocks.1.attn.k"


def log_cost(losses):
    """Log of the loss with layer 1's keys replaced over the intact loss."""
    losses = np.log(losses)
    return losses.sel(site=KEYS, drop=True) - losses.sel(site="intact", drop=True)


def keys_untrained(untrained_replaced_loss):
    """The same before training."""
    return log_cost(untrained_replaced_loss)


@claim(
    id="noposition.layer1-keys-noise",
    statement="Replacing layer 1's keys by their mean at each position lowers the loss.",
    refuted_if="the loss does not fall by 10 %",
    source=SOURCE,
    predicts=over_seeds("no-position").below(-0.1),
    control=placebo(keys_untrained, statement=UNTRAINED),
    sesoi=0.1,
    kind="interventional",
    unit="log ratio",
    margin=0.1,
)
def test_keys_replaced_per_position(replaced_loss):
    """Log ratio of the loss with layer 1's keys at their mean per position to the intact loss."""
    return log_cost(replaced_loss)


def keys_over_positions_untrained(untrained_loss_without_position):
    """The same before training."""
    return log_cost(untrained_loss_without_position)


@claim(
    id="noposition.layer1-keys-position",
    statement="Layer 1's keys carry position: one mean for all positions destroys the recall.",
    refuted_if="replacing them by one mean over positions too does not raise the loss tenfold",
    source=SOURCE,
    predicts=over_seeds("no-position").above(np.log(10)),
    control=placebo(keys_over_positions_untrained, statement=UNTRAINED),
    sesoi=0.1,
    kind="interventional",
    unit="log ratio",
    margin=0.1,
)
def test_keys_replaced_over_positions(loss_without_position):
    """Log ratio of the loss with layer 1's keys at one mean for all positions to the intact."""
    return log_cost(loss_without_position)
