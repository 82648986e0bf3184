"""Row T10: which part of the stream writes the answer."""

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo

SOURCE = Source(study="no-position", ref="T10")
UNTRAINED = "the study's own models before training, one for each seed"


@claim(
    id="noposition.attribution-adds-up",
    statement="Embedding, attention, feed-forward layers and biases add up to the logit.",
    refuted_if="the sum of the parts differs from the logit by more than 0.0001 on average",
    source=SOURCE,
    predicts=over_seeds("no-position").within(-1e-4, 1e-4),
    no_control="an identity: it holds for any weights, untrained ones too",
    kind="weights",
    unit="nats",
)
def test_parts_sum_to_the_logit(attribution_gap):
    """Largest difference of the parts' sum and the centred logit, over 64 held-out sequences."""
    return attribution_gap


def share_of_mlp_1(attribution):
    """Part of MLP 1 in the mean over positions of a logit."""
    by_part = attribution.mean("position")
    return by_part.sel(part="mlp 1", drop=True) / by_part.sum("part")


def share_untrained(untrained_previous_token_attribution):
    """The same before training."""
    return share_of_mlp_1(untrained_previous_token_attribution)


@claim(
    id="noposition.last-mlp-writes-answer",
    statement="The last feed-forward layer writes most of the correct token's logit.",
    refuted_if="its part is less than half of the sum of all parts",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    control=placebo(share_untrained, statement=UNTRAINED),
    sesoi=0.05,
    unit="share",
    margin=0.05,
)
def test_share_of_the_last_mlp(previous_token_attribution):
    """Part of MLP 1 in the correct token's centred logit, mean over positions 1 to 49."""
    return share_of_mlp_1(previous_token_attribution)
