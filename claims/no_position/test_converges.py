"""Row T1: it converges, and no position came in by the positional embedding."""

from refutable import Source, claim
from refutable.predictions import each_seed, over_seeds
from refutable.spec.claim import placebo

SOURCE = Source(study="no-position", ref="T1")
UNTRAINED = "the study's own models before training, one for each seed"


def loss_untrained(untrained_replaced_loss):
    """Loss before training, nothing replaced, of 128 held-out sequences."""
    return untrained_replaced_loss.sel(site="intact")


@claim(
    id="noposition.converges",
    statement=(
        "Without positional embeddings the toy transformer learns to recall the previous token."
    ),
    refuted_if="the mean held-out loss over training seeds lies above 0.008 nats",
    source=SOURCE,
    predicts=over_seeds("no-position").below(0.008),
    control=placebo(loss_untrained, statement=UNTRAINED),
    sesoi=0.001,
    kind="training",
    unit="nats",
    margin=0.001,
)
def test_held_out_loss(held_out_recall_loss):
    """Held-out loss after 4000 steps of the published recipe; published: 0.0050."""
    return held_out_recall_loss


@claim(
    id="noposition.positions-stay-zero",
    statement="The positional embedding is exactly zero before and after training.",
    refuted_if="its norm differs from 0 in any seed",
    source=SOURCE,
    predicts=each_seed("no-position").equals(0.0),
    no_control="a fact of the recipe: the embedding is zero before training, too",
    kind="weights",
)
def test_position_table_is_zero(position_table_norm):
    """Largest Euclidean norm of the positional embedding before and after training."""
    return position_table_norm.max()


@claim(
    id="noposition.converges-live",
    statement=(
        "The convergence can be watched: a faster recipe trained during this run converges too."
    ),
    refuted_if="the mean loss of the last 20 steps lies above 0.15 nats",
    source=SOURCE,
    predicts=each_seed("no-position-0").below(0.15),
    no_control="a training run has no untrained counterpart: its first steps are one",
    kind="training",
    unit="nats",
)
def test_live_loss(live_training_loss):
    """Mean training loss of the last 20 of 800 steps at learning rate .001 and batch 64."""
    return live_training_loss.isel(step=slice(-20, None)).mean()
