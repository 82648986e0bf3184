"""Row G4: LayerNorm turns the gain-entropy correlation negative."""

import numpy as np

from refutable import Source, claim, correlation, normalized_by, replication, untrained

ARMS = ("no-bos", "bos")


def pooled(residual_norm, next_token_entropy):
    """Distance of the raw gain from 1, and entropy in nats, over all prompts pooled."""
    last = residual_norm.isel(layer=-1, drop=True)
    gain = last / residual_norm.isel(layer=-2, drop=True)
    return abs(gain - 1), next_token_entropy


@claim(
    id="gain.layernorm-entropy-negative",
    statement=(
        "In a LayerNorm decoder the last block moves the stream less where entropy is higher."
    ),
    refuted_if="the correlation lies above -0.2 between families or within them",
    source=Source(study="last-block-gain", ref="G4"),
    models=normalized_by("LayerNorm"),
    arms=ARMS,
    predicts=correlation.below(-0.2),
    control=untrained(seeds=19),
    sesoi=0.2,
    replication=replication(
        pooled,
        statement="Pearson r of |g - 1| and entropy over all prompts pooled.",
        statistic="pooled correlation",
        below=0.0,
        published={
            "EleutherAI/pythia-6.9b": -0.199,
            "gpt2-medium": 0.371,
            "gpt2-large": 0.151,
            "gpt2-xl": 0.045,
        },
    ),
    unit="correlation",
    margin=0.2,
)
def test_layernorm_gain_and_entropy(log_growth, next_token_entropy):
    """Absolute log gain of the last block, and entropy of the next token in nats."""
    return np.abs(log_growth.isel(layer=-1, drop=True)), next_token_entropy


@claim(
    id="gain.rmsnorm-entropy-positive",
    statement="In an RMSNorm decoder the last block moves the stream more where entropy is higher.",
    refuted_if="the correlation lies below +0.2 between families or within them",
    source=Source(study="last-block-gain", ref="G4"),
    models=normalized_by("RMSNorm"),
    arms=ARMS,
    predicts=correlation.above(0.2),
    control=untrained(seeds=19),
    sesoi=0.2,
    replication=replication(
        pooled,
        statement="Pearson r of |g - 1| and entropy over all prompts pooled.",
        statistic="pooled correlation",
        above=0.0,
        published={"google/gemma-7b": 0.692},
    ),
    unit="correlation",
    margin=0.2,
)
def test_rmsnorm_gain_and_entropy(log_growth, next_token_entropy):
    """Absolute log gain of the last block, and entropy of the next token in nats."""
    return np.abs(log_growth.isel(layer=-1, drop=True)), next_token_entropy
