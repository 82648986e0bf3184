"""What the learning rate alone does to twins without norms.

Pairs of one seed, at the best rate of short runs and at the shared one. The first were trained on a
CPU, the others on a GPU, whose rounding training amplifies: that has no direction, and is part of
the spread between seeds. Regions are the smallest effects of the rows. They were written down
before any of the runs at 6e-3 had ended; known were the losses of two of them at the first eight
checkpoints, which lie above those at the shared rate.
"""

import math

from refutable import Source, claim
from refutable.predictions import contrast_along

RATES = contrast_along("none-tuned", "none-trained", tokens=13_926_400)
N1 = Source(study="norm-ablation", ref="N1", citation="the part of the learning rate")
N4 = Source(study="norm-ablation", ref="N4", citation="the part of the learning rate")
N12 = Source(study="norm-ablation", ref="N12", citation="the part of the learning rate")
SAME_MODEL = "before training the two are one model"


@claim(
    id="ablation.tuned-rate-lowers-loss",
    statement="Without norms the rate that short runs chose gives the lower loss in the end, too.",
    refuted_if="at 6e-3 the loss is not lower than at 4e-3 by 0.01 nats",
    source=N12,
    predicts=RATES.below(-0.01),
    no_control=SAME_MODEL,
    kind="training",
    unit="nats",
    sesoi=0.01,
    margin=0.01,
)
def test_loss_by_rate(documents_along_training):
    """Held-out loss by document of held-out prose, after 14 million tokens."""
    return documents_along_training.sel(quantity="loss", drop=True).rename(text="prompt")


@claim(
    id="ablation.rate-leaves-entropy",
    statement="Without norms the learning rate leaves attention as diffuse as it is.",
    refuted_if="normalized entropy at 6e-3 differs from that at 4e-3 by more than 0.02",
    source=N1,
    predicts=RATES.within(-0.02, 0.02),
    no_control=SAME_MODEL,
    kind="training",
    unit="share of ln(t + 1)",
    sesoi=0.02,
    margin=0.02,
)
def test_entropy_by_rate(prompts_along_training):
    """Entropy of attention rows t >= 1 over ln(t + 1), after 14 million tokens."""
    return prompts_along_training.sel(quantity="entropy", drop=True)


@claim(
    id="ablation.rate-leaves-gradients",
    statement="Without norms the learning rate leaves relative gradients as large as they are.",
    refuted_if="relative gradients at 6e-3 differ from those at 4e-3 by more than 10 %",
    source=N4,
    predicts=RATES.within(-math.log(1.1), math.log(1.1)),
    no_control=SAME_MODEL,
    kind="training",
    unit="log ratio",
    sesoi=math.log(1.1),
    margin=math.log(1.1),
)
def test_gradient_by_rate(documents_along_training):
    """Log of gradient norm over weight norm of a block's matrices, after 14 million tokens."""
    gradient = documents_along_training.sel(quantity="relative gradient", drop=True)
    return gradient.rename(text="prompt")
