"""Row N12: RMSNorm reaches LayerNorm's loss."""

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained


@claim(
    id="ablation.rmsnorm-reaches-loss",
    statement="RMSNorm reaches LayerNorm's held-out loss.",
    refuted_if="the losses differ by more than 0.02 nats",
    source=Source(study="norm-ablation", ref="N12"),
    predicts=contrast("rmsnorm-both", "layernorm-both").within(-0.02, 0.02),
    control=untrained(seeds=5),
    kind="training",
    unit="nats",
    sesoi=0.02,
    margin=0.02,
)
def test_final_loss(held_out_loss):
    """Held-out loss after the same steps on the same data, by document of held-out prose."""
    return held_out_loss.rename(text="prompt")


WHEN = "after 14 million tokens"
test_final_loss_trained = restated(test_final_loss, suffix="trained", when=WHEN)
