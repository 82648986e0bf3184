"""Rows N1, N4 to N6 and N10 along training: what of an early difference lasts.

Twins of 14 million tokens, read at twelve checkpoints evenly spaced in the log of the tokens. The
level of equal loss is one that every variant passes in sight of its end. Regions are those of the
rows early in training; a slope counts from a fifth of that for each doubling of the tokens, which
over the five and a half doublings from first to last checkpoint adds up to more than the row asks
for. They were written down before these runs were read, but after two pairs trained on five million
tokens had been (docs/studies/norm-ablation.md), where the differences of N1 and N5 faded.
"""

import math

from refutable import Source, claim
from refutable.predictions import contrast_along
from refutable.studies.norm_ablation.arms import at_best_rate

SESOI = 0.02
LEVEL = 3.5
N1 = Source(study="norm-ablation", ref="N1")
N4 = Source(study="norm-ablation", ref="N4")
N5 = Source(study="norm-ablation", ref="N5")
N6 = Source(study="norm-ablation", ref="N6")
N10 = Source(study="norm-ablation", ref="N10")
PAIR = ("none-trained", "layernorm-both-trained")


@claim(
    id="ablation.diffuse-attention-at-equal-loss-trained",
    statement="Without norms attention is more diffuse at a held-out loss of 3.5 nats, too.",
    refuted_if="at 3.5 nats normalized entropy exceeds that with LayerNorm by less than 0.02",
    source=N1,
    predicts=contrast_along(*PAIR, loss=LEVEL).above(SESOI),
    no_control="no untrained model has that loss",
    kind="training",
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy_at_equal_loss(prompts_along_training):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return prompts_along_training.sel(quantity="entropy", drop=True)


@claim(
    id="ablation.diffuse-attention-fades",
    statement="The excess of attention's entropy without norms fades as training goes on.",
    refuted_if="with each doubling of the tokens the excess falls by less than 0.004",
    source=N1,
    predicts=contrast_along(*PAIR).below(-SESOI / 5),
    no_control="untrained models have no path: the first checkpoint is where it starts from",
    kind="training",
    unit="share of ln(t + 1) per doubling",
    sesoi=SESOI / 5,
    margin=SESOI / 5,
)
def test_entropy_fades(prompts_along_training):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return prompts_along_training.sel(quantity="entropy", drop=True)


@claim(
    id="ablation.less-specialised-heads-fade",
    statement="Heads attend more alike without norms, and this fades as training goes on.",
    refuted_if="with each doubling of the tokens the distance catches up by less than 0.004",
    source=N5,
    predicts=contrast_along(*PAIR).above(SESOI / 5),
    no_control="untrained models have no path: the first checkpoint is where it starts from",
    kind="training",
    unit="Jensen-Shannon distance per doubling",
    sesoi=SESOI / 5,
    margin=SESOI / 5,
)
def test_distance_fades(prompts_along_training):
    """Mean pairwise Jensen-Shannon distance of a block's heads, rows t >= 1, mean over blocks."""
    return prompts_along_training.sel(quantity="distance of heads", drop=True)


@claim(
    id="ablation.variance-growth-lasts",
    statement="The faster growth of variance over depth without norms does not fade in training.",
    refuted_if="with each doubling of the tokens the excess of the slope falls by more than 0.01",
    source=N6,
    predicts=contrast_along(*PAIR).above(-0.01),
    no_control="untrained models have no path: the first checkpoint is where it starts from",
    kind="training",
    unit="log variance per block per doubling",
    sesoi=0.01,
    margin=0.01,
)
def test_variance_lasts(prompts_along_training):
    """Slope over blocks of the log variance over dims, tokens t >= 1, before the final norm."""
    return prompts_along_training.sel(quantity="slope of log variance", drop=True)


@claim(
    id="ablation.larger-gradients-at-equal-loss-trained",
    statement="Without norms gradients are larger relative to the weights at 3.5 nats, too.",
    refuted_if="at 3.5 nats held out they exceed those with LayerNorm by less than 10 %",
    source=N4,
    predicts=contrast_along(*PAIR, loss=LEVEL).above(math.log(1.1)),
    no_control="no untrained model has that loss",
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_gradient_at_equal_loss(documents_along_training):
    """Log of gradient norm over weight norm of a block's matrices, by held-out document."""
    gradient = documents_along_training.sel(quantity="relative gradient", drop=True)
    return gradient.rename(text="prompt")


@claim(
    id="ablation.sharper-without-norms-at-equal-loss-trained",
    statement="Without norms inside the blocks the loss landscape is sharper at 3.5 nats, too.",
    refuted_if="at 3.5 nats held out the loss rises by less than 10 % more than with LayerNorm",
    source=N10,
    predicts=contrast_along(*PAIR, loss=LEVEL).above(math.log(1.1)),
    no_control="no untrained model has that loss",
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_sharpness_at_equal_loss(documents_along_training):
    """Log of the loss rise at .2 along random directions, by held-out document."""
    sharpness = documents_along_training.sel(quantity="log sharpness", drop=True)
    return sharpness.rename(text="prompt")


test_gradient_at_equal_loss_tuned = at_best_rate(test_gradient_at_equal_loss, when="")
