"""Row N12 and the tails of N6 along training: do losses stay as far apart as they were.

Slopes of a difference over twelve checkpoints, per doubling of the tokens, as in `test_lasting`; a
slope counts from a fifth of what the row asks for. The regions were set after both ends had been
read and before anything in between.
"""

from refutable import Source, claim
from refutable.predictions import contrast_along

N6 = Source(study="norm-ablation", ref="N6")
N12 = Source(study="norm-ablation", ref="N12")
NONE = ("none-trained", "layernorm-both-trained")
KINDS = ("rmsnorm-both-trained", "layernorm-both-trained")
NO_PATH = "untrained models have no path: the first checkpoint is where it starts from"


@claim(
    id="ablation.rmsnorm-loss-stays-alike",
    statement="RMSNorm's held-out loss stays as close to LayerNorm's as training goes on.",
    refuted_if="with each doubling of the tokens the losses part by more than 0.004 nats",
    source=N12,
    predicts=contrast_along(*KINDS).within(-0.004, 0.004),
    no_control=NO_PATH,
    kind="training",
    unit="nats per doubling",
    sesoi=0.004,
    margin=0.004,
)
def test_losses_alike(documents_along_training):
    """Held-out loss by document of held-out prose."""
    return documents_along_training.sel(quantity="loss", drop=True).rename(text="prompt")


@claim(
    id="ablation.loss-without-norms-catches-up",
    statement="What norms spare in held-out loss shrinks as training goes on.",
    refuted_if="with each doubling of the tokens the excess of loss falls by less than 0.004 nats",
    source=Source(study="norm-ablation", ref="N12", citation="positive control of the row"),
    predicts=contrast_along(*NONE).below(-0.004),
    no_control=NO_PATH,
    kind="training",
    unit="nats per doubling",
    sesoi=0.004,
    margin=0.004,
)
def test_loss_catches_up(documents_along_training):
    """Held-out loss by document of held-out prose."""
    return documents_along_training.sel(quantity="loss", drop=True).rename(text="prompt")


@claim(
    id="ablation.heavy-tails-grow",
    statement="Without norms the stream's tails grow heavier than with them in training.",
    refuted_if="with each doubling of the tokens the excess of kurtosis grows by less than 0.02",
    source=N6,
    predicts=contrast_along(*NONE).above(0.02),
    no_control=NO_PATH,
    kind="training",
    unit="excess kurtosis per doubling",
    sesoi=0.02,
    margin=0.02,
)
def test_tails_grow(prompts_along_training):
    """Excess kurtosis over dims of the residual stream, mean over blocks, by prompt family."""
    return prompts_along_training.sel(quantity="excess kurtosis", drop=True)
