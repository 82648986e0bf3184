"""Row T12: the causal mask alone lets position in."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo

SOURCE = Source(study="no-position", ref="T12", citation="Haviv 2022; Chi 2023")
UNTRAINED = "the study's own models before training, one for each seed"
# From position 5 on t / (t + 1)^2, the variance of a mean of t tokens and BOS, falls like 1 / t.
FIRST = 5


def slope(variance):
    """Least-squares slope of log variance over log(position + 1), from position 5."""
    tail = variance.isel(position=slice(FIRST, None)).values
    log_positions = np.log(np.arange(FIRST, FIRST + tail.size) + 1)
    return np.polyfit(log_positions, np.log(tail), 1)[0]


@claim(
    id="noposition.variance-untrained",
    statement="Before training, the variance of attention's output falls like 1 / t.",
    refuted_if="the slope of log variance over log t lies outside -1.25 to -0.75",
    source=SOURCE,
    predicts=over_seeds("no-position").within(-1.25, -0.75),
    no_control="it is about untrained models: 1 / t is the null that it is held against",
    unit="slope",
    margin=0.1,
)
def test_slope_of_the_variance_untrained(attention_output_variance):
    """Slope of log variance over sequences of layer 0's attention output, untrained model."""
    return slope(attention_output_variance.sel(training="untrained"))


def slope_untrained(attention_output_variance):
    """The same before training."""
    return slope(attention_output_variance.sel(training="untrained"))


@claim(
    id="noposition.variance-trained",
    statement="After training, the variance of attention's output still falls like 1 / t.",
    refuted_if="the slope of log variance over log t lies outside -1.25 to -0.75",
    source=SOURCE,
    predicts=over_seeds("no-position").within(-1.25, -0.75),
    control=placebo(slope_untrained, statement=UNTRAINED),
    sesoi=0.1,
    unit="slope",
    margin=0.1,
)
def test_slope_of_the_variance_trained(attention_output_variance):
    """Slope of log variance over sequences of layer 0's attention output, trained model."""
    return slope(attention_output_variance.sel(training="trained"))


@claim(
    id="noposition.position-readable",
    statement=(
        "A linear probe reads the position after block 0, far better than with shuffled labels."
    ),
    refuted_if="R squared exceeds that of the shuffled control by less than 0.5",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    no_control="the quantity is less its null, a probe fitted on shuffled labels",
    kind="probing",
    unit="R squared",
    margin=0.05,
)
def test_position_probe(position_readout):
    """R squared of position read after block 0, minus that of a probe fitted on shuffled labels."""
    after_block = position_readout.sel(site="blocks.0.resid_post", drop=True)
    return after_block.sel(probe="trained", drop=True) - after_block.sel(
        probe="shuffled", drop=True
    )


@claim(
    id="noposition.position-learned",
    statement="Training makes the position readable: an untrained model gives much less of it.",
    refuted_if="R squared exceeds that of untrained models by less than 0.3",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.3),
    no_control="the quantity is less its null, the probe on an untrained model",
    kind="probing",
    unit="R squared",
    margin=0.05,
)
def test_position_probe_against_untrained(position_readout):
    """R squared of position read after block 0, minus that of an untrained model."""
    after_block = position_readout.sel(site="blocks.0.resid_post", drop=True)
    return after_block.sel(probe="trained", drop=True) - after_block.sel(
        probe="untrained", drop=True
    )
