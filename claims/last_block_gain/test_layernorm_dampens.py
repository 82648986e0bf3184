"""Row G1: LayerNorm models dampen the residual stream in the last block."""

from refutable import Source, claim, mean, normalized_by, replication, untrained

SESOI = 0.02
ARMS = ("no-bos", "bos")

PUBLISHED = {
    "EleutherAI/pythia-6.9b": 0.80,
    "gpt2-medium": 1.163,
    "gpt2-large": 1.014,
    "gpt2-xl": 1.019,
}


def raw_gain(residual_norm):
    """Ratio of the norms after the last two blocks, one value per prompt."""
    last = residual_norm.isel(layer=-1, drop=True)
    return last / residual_norm.isel(layer=-2, drop=True)


@claim(
    id="gain.layernorm-dampens",
    statement="The last block of a LayerNorm decoder shrinks the residual stream.",
    refuted_if="the mean log gain over prompt families lies above -0.02",
    source=Source(study="last-block-gain", ref="G1"),
    models=normalized_by("LayerNorm"),
    arms=ARMS,
    predicts=mean.below(-SESOI),
    control=untrained(seeds=19),
    replication=replication(
        raw_gain,
        statement="Mean raw gain, the prompts taken as independent, against 1.",
        below=1.0,
        published=PUBLISHED,
    ),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_last_block_log_gain(log_growth):
    """Log of |h_L| / |h_(L-1)| at the last token, before the final norm; one value per prompt."""
    return log_growth.isel(layer=-1, drop=True)


@claim(
    id="gain.layernorm-last-block-dampens-more",
    statement="In a LayerNorm decoder the last block dampens more than the blocks before it.",
    refuted_if="the last log gain minus the mean of up to five before it lies above -0.02",
    source=Source(study="last-block-gain", ref="G1a"),
    models=normalized_by("LayerNorm"),
    arms=ARMS,
    predicts=mean.below(-SESOI),
    control=untrained(seeds=19),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_last_block_against_those_before(log_growth):
    """Log gain of the last block minus the mean log gain of up to five blocks before it."""
    before = log_growth.isel(layer=slice(-6, -1)).mean("layer")
    return log_growth.isel(layer=-1, drop=True) - before


@claim(
    id="gain.layernorm-training-dampens",
    statement="Training makes the last block of a LayerNorm decoder grow the stream less.",
    refuted_if="trained minus untrained mean log gain lies above -0.02",
    source=Source(study="last-block-gain", ref="G1b"),
    models=normalized_by("LayerNorm"),
    arms=ARMS,
    predicts=mean.below(-SESOI).against_control(),
    control=untrained(seeds=19),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_trained_against_untrained(log_growth):
    """Log gain of the last block, minus that of untrained models of the same config."""
    return log_growth.isel(layer=-1, drop=True)


@claim(
    id="gain.layernorm-dampens-all-tokens",
    statement=(
        "The last block of a LayerNorm decoder shrinks the stream of every token but the first."
    ),
    refuted_if="the mean log gain over tokens and prompt families lies above -0.02",
    source=Source(study="last-block-gain", ref="G1"),
    models=normalized_by("LayerNorm"),
    arms=ARMS,
    predicts=mean.below(-SESOI),
    control=untrained(seeds=19),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_last_block_log_gain_of_all_tokens(log_growth_all_tokens):
    """Mean log gain of the last block over tokens, the first left out; one value per prompt."""
    return log_growth_all_tokens.isel(layer=-1, drop=True)
