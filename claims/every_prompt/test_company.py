"""A prompt's gain does not depend on the prompts that it shares a batch with."""

from refutable import Source, claim, every

TOLERANCE = 1e-3


@claim(
    id="gain.unchanged-by-the-batch",
    statement="The log gain of a block is the same alone and beside other prompts of a batch.",
    refuted_if="a prompt's log gain changes by more than 0.002 in any block",
    source=Source(study="every-prompt", ref="C1"),
    prompts="five-registers",
    predicts=every(tolerance=TOLERANCE).below(TOLERANCE),
    no_control="an identity: it holds for any weights, untrained ones too",
    unit="log ratio",
    margin=TOLERANCE,
)
def test_unchanged_by_the_batch(change_by_company):
    """Absolute change of the log gain by block, alone against right-padded beside two others."""
    return change_by_company
