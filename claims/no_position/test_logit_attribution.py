"""Row T10: which part of the stream writes the answer."""

from refutable import Source, claim
from refutable.predictions import over_seeds

SOURCE = Source(study="no-position", ref="T10")


@claim(
    id="noposition.attribution-adds-up",
    statement="Embedding, attention, feed-forward layers and biases add up to the logit.",
    refuted_if="the sum of the parts differs from the logit by more than 0.0001 on average",
    source=SOURCE,
    predicts=over_seeds("no-position").within(-1e-4, 1e-4),
    kind="weights",
    unit="nats",
)
def test_parts_sum_to_the_logit(attribution_gap):
    """Largest difference of the parts' sum and the centred logit, over 64 held-out sequences."""
    return attribution_gap


@claim(
    id="noposition.last-mlp-writes-answer",
    statement="The last feed-forward layer writes most of the correct token's logit.",
    refuted_if="its part is less than half of the sum of all parts",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    unit="share",
    margin=0.05,
)
def test_share_of_the_last_mlp(previous_token_attribution):
    """Part of MLP 1 in the correct token's centred logit, mean over positions 1 to 49."""
    by_part = previous_token_attribution.mean("position")
    return by_part.sel(part="mlp 1", drop=True) / by_part.sum("part")
