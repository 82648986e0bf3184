"""Row G2: RMSNorm models expand the residual stream in the last block."""

from refutable import Source, claim, mean, normalized_by, replication, untrained

SESOI = 0.02
ARMS = ("no-bos", "bos")

PUBLISHED = {
    "mistralai/Mistral-7B-v0.1": 1.11,
    "meta-llama/Llama-3.1-8B": 1.48,
    "google/gemma-7b": 2.31,
}


def raw_gain(residual_norm):
    """Ratio of the norms after the last two blocks, one value per prompt."""
    last = residual_norm.isel(layer=-1, drop=True)
    return last / residual_norm.isel(layer=-2, drop=True)


@claim(
    id="gain.rmsnorm-expands",
    statement="The last block of an RMSNorm decoder grows the residual stream.",
    refuted_if="the mean log gain over prompt families lies below +0.02",
    source=Source(study="last-block-gain", ref="G2"),
    models=normalized_by("RMSNorm"),
    arms=ARMS,
    predicts=mean.above(SESOI),
    control=untrained(seeds=19),
    replication=replication(
        raw_gain,
        statement="Mean raw gain, the prompts taken as independent, against 1.",
        above=1.0,
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
    id="gain.rmsnorm-last-block-expands-more",
    statement="In an RMSNorm decoder the last block expands more than the blocks before it.",
    refuted_if="the last log gain minus the mean of up to five before it lies below +0.02",
    source=Source(study="last-block-gain", ref="G2a"),
    models=normalized_by("RMSNorm"),
    arms=ARMS,
    predicts=mean.above(SESOI),
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
    id="gain.rmsnorm-training-expands",
    statement="Training makes the last block of an RMSNorm decoder grow the stream more.",
    refuted_if="trained minus untrained mean log gain lies below +0.02",
    source=Source(study="last-block-gain", ref="G2b"),
    models=normalized_by("RMSNorm"),
    arms=ARMS,
    predicts=mean.above(SESOI).against_control(),
    control=untrained(seeds=19),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_trained_against_untrained(log_growth):
    """Log gain of the last block, minus that of untrained models of the same config."""
    return log_growth.isel(layer=-1, drop=True)


@claim(
    id="gain.rmsnorm-expands-all-tokens",
    statement="The last block of an RMSNorm decoder grows the stream of every token but the first.",
    refuted_if="the mean log gain over tokens and prompt families lies below +0.02",
    source=Source(study="last-block-gain", ref="G2"),
    models=normalized_by("RMSNorm"),
    arms=ARMS,
    predicts=mean.above(SESOI),
    control=untrained(seeds=19),
    unit="log ratio",
    sesoi=SESOI,
    margin=SESOI,
)
def test_last_block_log_gain_of_all_tokens(log_growth_all_tokens):
    """Mean log gain of the last block over tokens, the first left out; one value per prompt."""
    return log_growth_all_tokens.isel(layer=-1, drop=True)
