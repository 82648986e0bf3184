"""Attention for every prompt: rows that sum to 1, and a sink that no prompt escapes."""

from refutable import Source, claim, every

NEAR = 1e-3


@claim(
    id="attention.rows-sum-to-one",
    statement="Every attention row sums to 1.",
    refuted_if="a row of one prompt sums to less than 0.9985 or more than 1.0015",
    source=Source(study="every-prompt", ref="A1"),
    predicts=every(tolerance=NEAR / 2).within(1 - NEAR, 1 + NEAR),
    no_control="an identity: it holds for any weights, untrained ones too",
    unit="sum of a row",
    margin=NEAR,
)
def test_rows_sum_to_one(attention_row_total):
    """Sum of the row that lies furthest from 1, by block and head."""
    return attention_row_total


@claim(
    id="attention.sink-in-every-prompt",
    statement="In every prompt some head pays much of its attention to the first token.",
    refuted_if="in a prompt of eight tokens or more no head pays it more than 0.295 on average",
    source=Source("literature", "B1", "Gu 2024, arXiv 2410.10781"),
    arms=("bos",),
    predicts=every(tolerance=0.005).above(0.3),
    no_control="one prompt refutes it, whatever an untrained model does",
    unit="share",
    margin=0.05,
)
def test_sink_in_every_prompt(attention_first, n_tokens):
    """Largest mean attention of a head to key 0, prompts of eight tokens or more, BOS counted."""
    largest = attention_first.max(["layer", "head"])
    return largest.isel(prompt=(n_tokens >= 8).values)
