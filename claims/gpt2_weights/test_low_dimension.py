"""Row W7: the weights live in fewer dimensions than they have."""

from refutable import Source, claim, replication
from refutable.predictions import fact

SOURCE = Source(study="gpt2-weights", ref="W7")


def components_for_90(attention_input_spectrum):
    """Components for 90 % of the variance, mean over blocks."""
    return attention_input_spectrum.sel(measure="components_90").mean("layer")


@claim(
    id="weights.attention-low-dimensional",
    says="A block's queries, keys and values live in far fewer dimensions than they have.",
    refuted_if="their participation ratio is more than half that of a Gaussian of the same shape",
    source=SOURCE,
    predicts=fact.below(0.5),
    replication=replication(
        components_for_90,
        says="Components for 90 % of the variance; a Gaussian of GPT-2's shape needs 557 of 768.",
        statistic="value",
        below=557,
    ),
    kind="weights",
    unit="ratio",
    margin=0.02,
)
def test_participation_of_attention_input(attention_input_spectrum):
    """Participation ratio of [Q K V] over a Gaussian's, mean over blocks."""
    own = attention_input_spectrum.sel(measure="participation")
    gaussian = attention_input_spectrum.sel(measure="participation_gaussian")
    return (own / gaussian).mean("layer")


@claim(
    id="weights.feed-forward-low-dimensional",
    says="A block's feed-forward weights live in far fewer dimensions than they have.",
    refuted_if="their participation ratio is more than half that of a Gaussian of the same shape",
    source=SOURCE,
    predicts=fact.below(0.5),
    kind="weights",
    unit="ratio",
    margin=0.02,
)
def test_participation_of_feed_forward(weight_spectrum):
    """Participation ratio of W_in and W_out over a Gaussian's, mean over blocks."""
    own = weight_spectrum.sel(measure="participation", matrix=["in", "out"])
    gaussian = weight_spectrum.sel(measure="participation_gaussian", matrix=["in", "out"])
    return (own / gaussian).mean(("layer", "matrix"))
