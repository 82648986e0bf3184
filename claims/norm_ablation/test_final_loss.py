"""Row N12: RMSNorm reaches LayerNorm's loss."""

from refutable import Source, claim
from refutable.predictions import contrast
from refutable.spec.claim import restated
from refutable.studies.norm_ablation.arms import at_best_rate


@claim(
    id="ablation.rmsnorm-reaches-loss",
    statement="RMSNorm reaches LayerNorm's held-out loss.",
    refuted_if="the losses differ by more than 0.02 nats",
    source=Source(study="norm-ablation", ref="N12"),
    predicts=contrast("rmsnorm-both", "layernorm-both").within(-0.02, 0.02),
    no_control="untrained models lose alike; ablation.norms-lower-loss is its positive control",
    kind="training",
    unit="nats",
    sesoi=0.02,
    margin=0.02,
)
def test_final_loss(held_out_loss):
    """Held-out loss after the same steps on the same data, by document of held-out prose."""
    return held_out_loss.rename(text="prompt")


@claim(
    id="ablation.norms-lower-loss",
    statement="With LayerNorm in the blocks the held-out loss is lower than without norms.",
    refuted_if="without norms the loss exceeds LayerNorm's by less than 0.02 nats",
    source=Source(study="norm-ablation", ref="N12", citation="positive control of the row"),
    predicts=contrast("none", "layernorm-both").above(0.02),
    no_control="untrained models of both kinds know nothing and lose alike, ln 1024",
    kind="training",
    unit="nats",
    sesoi=0.02,
    margin=0.02,
)
def test_loss_without_norms(noisy_loss):
    """Held-out loss after the same steps on the same data, by document, no word replaced.

    It shows that the margin of `ablation.rmsnorm-reaches-loss` can be told apart with these seeds
    and documents. It was added after the losses had been seen.
    """
    return noisy_loss.sel(noise="words", rate=0.0, drop=True).rename(text="prompt")


WHEN = "after 14 million tokens"
test_final_loss_trained = restated(test_final_loss, suffix="trained", when=WHEN)
test_loss_without_norms_trained = restated(test_loss_without_norms, suffix="trained", when=WHEN)
test_loss_without_norms_tuned = at_best_rate(test_loss_without_norms)
