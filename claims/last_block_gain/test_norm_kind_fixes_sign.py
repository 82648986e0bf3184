"""Row G3: the kind of norm fixes the sign, for every prompt and in every model.

The domain is prompts of two tokens or more in the BOS arm: with a single token the first token's
attention sink is all there is.
"""

from refutable import Source, claim, every, normalized_by

TOLERANCE = 0.005


@claim(
    id="gain.layernorm-dampens-every-prompt",
    statement="In a LayerNorm decoder the last block shrinks the stream for every prompt.",
    refuted_if="one prompt of two tokens or more has a log gain above +0.005",
    source=Source(study="last-block-gain", ref="G3"),
    models=normalized_by("LayerNorm"),
    arms=("bos",),
    predicts=every(tolerance=TOLERANCE).below(0.0),
    no_control="one prompt refutes it, whatever an untrained model does",
    unit="log ratio",
    margin=0.02,
)
def test_every_prompt_dampens(log_growth, n_tokens):
    """Log gain of the last block at the last token, prompts of two tokens or more."""
    gain = log_growth.isel(layer=-1, drop=True)
    return gain.isel(prompt=(n_tokens >= 2).values)


@claim(
    id="gain.rmsnorm-expands-every-prompt",
    statement="In an RMSNorm decoder the last block grows the stream for every prompt.",
    refuted_if="one prompt of two tokens or more has a log gain below -0.005",
    source=Source(study="last-block-gain", ref="G3"),
    models=normalized_by("RMSNorm"),
    arms=("bos",),
    predicts=every(tolerance=TOLERANCE).above(0.0),
    no_control="one prompt refutes it, whatever an untrained model does",
    unit="log ratio",
    margin=0.02,
)
def test_every_prompt_expands(log_growth, n_tokens):
    """Log gain of the last block at the last token, prompts of two tokens or more."""
    gain = log_growth.isel(layer=-1, drop=True)
    return gain.isel(prompt=(n_tokens >= 2).values)
