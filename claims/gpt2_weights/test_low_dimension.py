"""Row W7: the weights live in fewer dimensions than they have; the study judged that by eye."""

from refutable import Source, claim
from refutable.predictions import fact
from refutable.spec.claim import untrained_in

SOURCE = Source(study="gpt2-weights", ref="W7")
COPIES = "19 untrained models of the same config"


def participation_untrained(untrained_weight_views):
    """The same of three blocks of each copy."""
    return untrained_weight_views.sel(view="participation", drop=True)


@claim(
    id="weights.attention-low-dimensional",
    statement="A block's queries, keys and values live in far fewer dimensions than they have.",
    refuted_if="their participation ratio is more than half that of a Gaussian of the same shape",
    source=SOURCE,
    predicts=fact.below(0.5),
    control=untrained_in(participation_untrained, statement=COPIES),
    kind="weights",
    unit="ratio",
    margin=0.02,
)
def test_participation_of_attention_input(attention_input_spectrum):
    """Participation ratio of [Q K V] over a Gaussian's, mean over blocks."""
    dimensions = attention_input_spectrum.sel(measure="participation")
    gaussian = attention_input_spectrum.sel(measure="participation_gaussian")
    return (dimensions / gaussian).mean("layer")


@claim(
    id="weights.feed-forward-low-dimensional",
    statement="A block's feed-forward weights live in far fewer dimensions than they have.",
    refuted_if="their participation ratio is more than half that of a Gaussian of the same shape",
    source=SOURCE,
    predicts=fact.below(0.5),
    no_control="the quantity is over its null, a Gaussian matrix of the same shape",
    kind="weights",
    unit="ratio",
    margin=0.02,
)
def test_participation_of_feed_forward(weight_spectrum):
    """Participation ratio of W_in and W_out over a Gaussian's, mean over blocks."""
    dimensions = weight_spectrum.sel(measure="participation", matrix=["in", "out"])
    gaussian = weight_spectrum.sel(measure="participation_gaussian", matrix=["in", "out"])
    return (dimensions / gaussian).mean(("layer", "matrix"))
