"""The study's measures on a single model of any kind: rows N1, N5, N6, N8 and N11 without twins.

A contrast between variants needs the twins; what the measures say about one model is read against
untrained copies of it, or against no change. Regions were written down before the measures were
looked at on any model, with the smallest effects of the contrasts.
"""

import numpy as np

from refutable import Source, claim
from refutable.observables.prose.text import noise_slope
from refutable.predictions import fact, mean, over_seeds
from refutable.spec.claim import at_least_heads, reads_text, restated, untrained


def source(ref):
    """Return a row of the study."""
    return Source(study="norm-ablation", ref=ref)


@claim(
    id="ablation.training-focuses-attention",
    statement="Training makes attention less diffuse than in an untrained model.",
    refuted_if="normalized entropy lies less than 0.02 below that of untrained copies",
    source=source("N1"),
    predicts=mean.below(-0.02).against_control(),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=0.02,
    margin=0.02,
)
def test_entropy_against_untrained(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.training-specialises-heads",
    statement="Training makes the heads of a block attend less alike.",
    refuted_if="the heads' distance lies less than 0.02 above that of untrained copies",
    source=source("N5"),
    models=at_least_heads(2),
    predicts=mean.above(0.02).against_control(),
    control=untrained(seeds=5),
    unit="Jensen-Shannon distance",
    sesoi=0.02,
    margin=0.02,
)
def test_head_distance_against_untrained(attention_head_distance):
    """Mean pairwise Jensen-Shannon distance of a block's heads, mean over blocks."""
    return attention_head_distance.mean(("layer", "head"))


@claim(
    id="ablation.variance-grows-with-depth",
    statement="The variance of the residual stream grows with depth.",
    refuted_if="the slope of its log over blocks lies below 0.05",
    source=source("N6"),
    predicts=mean.above(0.05),
    control=untrained(seeds=5),
    unit="log variance per block",
    sesoi=0.05,
    margin=0.05,
)
def test_variance_slope_of_one_model(log_variance_slope):
    """Slope over blocks of the log variance over dims, tokens t >= 1, before the final norm."""
    return log_variance_slope


@claim(
    id="ablation.training-enlarges-weights",
    statement="Training leaves matrices larger than their initialisation.",
    refuted_if="their mean log standard deviation lies less than 0.05 above that at initialisation",
    source=source("N8"),
    predicts=fact.above(0.05),
    control=untrained(seeds=19),
    kind="weights",
    unit="log ratio",
    margin=0.05,
)
def test_weights_against_initial(weight_sd, initial_weight_sd):
    """Log standard deviation of the matrices less that of an untrained copy, mean over all."""
    return np.log(weight_sd / initial_weight_sd).mean(("layer", "matrix"))


@claim(
    id="ablation.noise-costs-loss",
    statement="Replacing words of its text costs a model loss.",
    refuted_if="the loss rises by less than 0.1 nats per share of words replaced",
    source=source("N11"),
    models=reads_text(),
    predicts=mean.above(0.1),
    control=untrained(seeds=5),
    unit="nats per share of words",
    sesoi=0.1,
    margin=0.1,
)
def test_word_noise_on_one_model(noisy_loss):
    """Slope of held-out loss over 0, 5, 10 and 20 % of words replaced by others of the text."""
    return noise_slope(noisy_loss, "words")


@claim(
    id="ablation.training-focuses-attention-over-seeds",
    statement="Training with LayerNorm makes attention less diffuse than in untrained models.",
    refuted_if="over seeds normalized entropy lies less than 0.02 below that of untrained copies",
    source=source("N1"),
    predicts=over_seeds("layernorm-both").below(-0.02).against_control(),
    control=untrained(seeds=5),
    kind="training",
    unit="share of ln(t + 1)",
    sesoi=0.02,
    margin=0.02,
)
def test_entropy_over_seeds(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks.

    The forms over seeds were added after the single twins had been seen, with their regions.
    """
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.training-specialises-heads-over-seeds",
    statement="Training with LayerNorm makes the heads of a block attend less alike.",
    refuted_if="over seeds the heads' distance lies less than 0.02 above that of untrained copies",
    source=source("N5"),
    predicts=over_seeds("layernorm-both").above(0.02).against_control(),
    control=untrained(seeds=5),
    kind="training",
    unit="Jensen-Shannon distance",
    sesoi=0.02,
    margin=0.02,
)
def test_head_distance_over_seeds(attention_head_distance):
    """Mean pairwise Jensen-Shannon distance of a block's heads, mean over blocks."""
    return attention_head_distance.mean(("layer", "head"))


WHEN = "after 14 million tokens"
test_entropy_over_seeds_trained = restated(test_entropy_over_seeds, suffix="trained", when=WHEN)
test_head_distance_over_seeds_trained = restated(
    test_head_distance_over_seeds, suffix="trained", when=WHEN
)
