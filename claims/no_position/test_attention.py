"""Row T4: layer 0 attends uniformly, and some layer attends to the previous token."""

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo
from refutable.studies.no_position.observables.activations import (
    attention_looking_back,
)
from refutable.studies.no_position.observables.activations import (
    distance_from_uniform as from_uniform,
)

SOURCE = Source(study="no-position", ref="T4")
UNTRAINED = "the study's own models before training, one for each seed"


def previous_untrained(untrained_mean_attention):
    """The same before training."""
    return attention_looking_back(untrained_mean_attention).sel(back=1).max("layer")


@claim(
    id="noposition.previous-token-head",
    statement="One layer's head attends to the previous token.",
    refuted_if="no layer gives the previous token half of its attention",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    control=placebo(previous_untrained, statement=UNTRAINED),
    sesoi=0.05,
    unit="share",
    margin=0.05,
)
def test_previous_token_score(attention_looking_back):
    """Mean attention weight of query t on key t - 1, t >= 1, in the layer with the larger one."""
    return attention_looking_back.sel(back=1).max("layer")


def uniform_untrained(untrained_mean_attention):
    """The same before training."""
    return from_uniform(untrained_mean_attention).sel(layer=0, keys="all")


@claim(
    id="noposition.layer0-uniform",
    statement="Layer 0 spreads its attention evenly over everything it sees.",
    refuted_if="its mean pattern is more than 0.05 (total variation) from equal weights",
    source=SOURCE,
    predicts=over_seeds("no-position").below(0.05),
    control=placebo(uniform_untrained, statement=UNTRAINED),
    sesoi=0.02,
    unit="share",
    margin=0.02,
)
def test_layer_0_is_uniform(distance_from_uniform):
    """Total variation distance of layer 0's mean pattern from 1 / (t + 1), mean over t >= 1."""
    return distance_from_uniform.sel(layer=0, keys="all")


def uniform_beside_bos_untrained(untrained_mean_attention):
    """The same before training."""
    return from_uniform(untrained_mean_attention).sel(layer=0, keys="not BOS")


@claim(
    id="noposition.layer0-uniform-beside-bos",
    statement="Layer 0 spreads what attention the BOS token leaves evenly over the other tokens.",
    refuted_if="its mean pattern without BOS is more than 0.05 from equal weights",
    source=SOURCE,
    predicts=over_seeds("no-position").below(0.05),
    control=placebo(uniform_beside_bos_untrained, statement=UNTRAINED),
    sesoi=0.02,
    unit="share",
    margin=0.02,
)
def test_layer_0_is_uniform_beside_bos(distance_from_uniform):
    """Total variation distance of layer 0's mean pattern on keys 1 to t from 1 / t."""
    return distance_from_uniform.sel(layer=0, keys="not BOS")
