"""Row T8: the activity of feed-forward neurons tells positions apart."""

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo

SEQUENCES = 256
UNTRAINED = "the study's own models before training, one for each seed"


def explained(activity):
    """Share of the variance of being active that position explains, layer 0."""
    share = activity.sel(statistic="share active", layer=0)
    within = (share * (1 - share)).mean("position")
    between = share.var("position") - within / SEQUENCES
    return between.mean("neuron") / (between + within).mean("neuron")


def explained_untrained(untrained_neuron_activity):
    """The same before training."""
    return explained(untrained_neuron_activity)


@claim(
    id="noposition.neurons-follow-position",
    statement="Whether a neuron of the first feed-forward layer is active depends on the position.",
    refuted_if="position explains less than 1 % of the variance of being active",
    source=Source(study="no-position", ref="T8"),
    predicts=over_seeds("no-position").above(0.01),
    control=placebo(explained_untrained, statement=UNTRAINED),
    sesoi=0.01,
    unit="share of variance",
    margin=0.01,
)
def test_variance_explained_by_position(neuron_activity):
    """Share of the variance of being active that position explains, layer 0, every 4th position.

    Variances are averaged over neurons. What chance adds to the variance between positions with
    256 sequences is taken off.
    """
    return explained(neuron_activity)
