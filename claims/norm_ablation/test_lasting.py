"""Rows N2, N8, N9, N11 and G8 along training: what of an early difference, or of none, lasts.

Slopes of a difference over twelve checkpoints, per doubling of the tokens, as in
`test_along_training`; a slope counts from a fifth of what the row asks for. The regions were set
after the twins had been read at the end of both recipes, and before they were read in between.
"""

from refutable import Source, claim
from refutable.predictions import contrast_along

N2 = Source(study="norm-ablation", ref="N2")
N8 = Source(study="norm-ablation", ref="N8")
N9 = Source(study="norm-ablation", ref="N9")
N11 = Source(study="norm-ablation", ref="N11")
G8 = Source(study="norm-ablation", ref="G8")
PAIR = ("none-trained", "layernorm-both-trained")
NO_PATH = "untrained models have no path: the first checkpoint is where it starts from"
KINDS = ("layernorm-both-trained", "rmsnorm-both-trained")


@claim(
    id="ablation.word-heads-grow-with-norms",
    statement="With norms inside the blocks heads come to follow words sooner as training goes on.",
    refuted_if="per doubling of the tokens the best head gains under 0.01 on that without norms",
    source=N2,
    predicts=contrast_along(*PAIR).below(-0.01),
    no_control=NO_PATH,
    kind="training",
    unit="share of attention per doubling",
    sesoi=0.01,
    margin=0.01,
)
def test_word_heads(documents_along_training):
    """Attention on a word's first token beyond its distance, best head, by held-out document."""
    accuracy = documents_along_training.sel(quantity="word arcs", drop=True)
    # The best head is chosen on the other documents.
    return accuracy.dropna("text").rename(text="prompt")


@claim(
    id="ablation.attention-weights-excess-fades",
    statement="The excess in scale of attention's weights without norms fades as training goes on.",
    refuted_if="with each doubling of the tokens the log spread falls back by less than 0.01",
    source=N8,
    predicts=contrast_along(*PAIR).below(-0.01),
    no_control=NO_PATH,
    kind="training",
    unit="log sd per doubling",
    sesoi=0.01,
    margin=0.01,
)
def test_attention_weights(model_along_training):
    """Mean log standard deviation of attention's matrices; one number a run."""
    return model_along_training.sel(quantity="attention weights", drop=True)


@claim(
    id="ablation.feed-forward-weights-fall-behind",
    statement="The weights of the feed-forward fall behind without norms as training goes on.",
    refuted_if="with each doubling of the tokens the log spread falls behind by less than 0.01",
    source=N8,
    predicts=contrast_along(*PAIR).below(-0.01),
    no_control=NO_PATH,
    kind="training",
    unit="log sd per doubling",
    sesoi=0.01,
    margin=0.01,
)
def test_feed_forward_weights(model_along_training):
    """Mean log standard deviation of the feed-forward's matrices; one number a run."""
    return model_along_training.sel(quantity="feed-forward weights", drop=True)


@claim(
    id="ablation.selectivity-grows-alike",
    statement="How unlike blocks are in what probes read grows alike with and without norms.",
    refuted_if="with each doubling of the tokens one gains more than a point on the other",
    source=N9,
    predicts=contrast_along(*PAIR).within(-0.01, 0.01),
    no_control=NO_PATH,
    kind="training",
    unit="accuracy per doubling",
    sesoi=0.01,
    margin=0.01,
)
def test_selectivity(model_along_training):
    """Selectivity of probes, best minus worst block; one number a run."""
    return model_along_training.sel(quantity="selectivity", drop=True)


@claim(
    id="ablation.word-noise-difference-lasts",
    statement="What words replaced cost less without norms stays the same as training goes on.",
    refuted_if="with each doubling of the tokens the difference in slope changes by more than 0.02",
    source=N11,
    predicts=contrast_along(*PAIR).within(-0.02, 0.02),
    no_control=NO_PATH,
    kind="training",
    unit="nats per share per doubling",
    sesoi=0.02,
    margin=0.02,
)
def test_word_noise(documents_along_training):
    """Slope of the loss over the share of words replaced, by held-out document."""
    sensitivity = documents_along_training.sel(quantity="words", drop=True)
    return sensitivity.rename(text="prompt")


@claim(
    id="ablation.character-noise-difference-fades",
    statement="What misspelt words cost less without norms fades as training goes on.",
    refuted_if="with each doubling of the tokens the difference in slope shrinks by less than 0.02",
    source=N11,
    predicts=contrast_along(*PAIR).above(0.02),
    no_control=NO_PATH,
    kind="training",
    unit="nats per share per doubling",
    sesoi=0.02,
    margin=0.02,
)
def test_character_noise(documents_along_training):
    """Slope of the loss over the share of characters replaced, by held-out document."""
    sensitivity = documents_along_training.sel(quantity="characters", drop=True)
    return sensitivity.rename(text="prompt")


@claim(
    id="ablation.last-gain-differs-no-more",
    statement="The kind of norm does not come to matter for the last block's gain in training.",
    refuted_if="with each doubling of the tokens the log gains part by more than 0.004",
    source=G8,
    predicts=contrast_along(*KINDS).within(-0.004, 0.004),
    no_control=NO_PATH,
    kind="training",
    unit="log ratio per doubling",
    sesoi=0.004,
    margin=0.004,
)
def test_last_gain(prompts_along_training):
    """Log growth of the residual stream in the last block, last token, by prompt family."""
    return prompts_along_training.sel(quantity="last block's gain", drop=True)
