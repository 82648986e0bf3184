"""Rows N1 and N3: without norms attention is more diffuse; partial norms lie between."""

from refutable import Source, claim
from refutable.predictions import contrast, ordered
from refutable.spec.claim import restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SESOI = 0.02
ARMS = ("no-bos", "bos")
N1 = Source(study="norm-ablation", ref="N1")
N3 = Source(study="norm-ablation", ref="N3")


@claim(
    id="ablation.diffuse-attention",
    statement="Without norms inside the blocks attention is more diffuse.",
    refuted_if="normalized entropy without norms exceeds that with LayerNorm by less than 0.02",
    source=N1,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    arms=ARMS,
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.diffuse-attention-beside-sink",
    statement="Without norms attention is more diffuse over the keys after the first token, too.",
    refuted_if="normalized entropy over keys k >= 1 exceeds LayerNorm's by less than 0.02",
    source=N1,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    arms=ARMS,
    control=untrained(seeds=5),
    unit="share of ln(t)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy_without_first_key(attention_entropy_rest):
    """Entropy over keys k >= 1 of rows t >= 2, over ln(t); mean over heads and blocks."""
    return attention_entropy_rest.mean(("layer", "head"))


@claim(
    id="ablation.diffuse-attention-at-equal-loss",
    statement="Without norms attention is more diffuse at the same held-out loss, too.",
    refuted_if="at 4.95 nats normalized entropy exceeds that with LayerNorm by less than 0.02",
    source=N1,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    kind="training",
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy_at_equal_loss(attention_entropy_at_loss):
    """Entropy of rows t >= 1 over ln(t + 1) where the held-out loss passed 4.95 nats."""
    return attention_entropy_at_loss.sel(keys="all", drop=True)


@claim(
    id="ablation.diffuse-attention-beside-sink-at-equal-loss",
    statement=(
        "Without norms attention is more diffuse over the keys after the first at equal loss."
    ),
    refuted_if="at 4.95 nats entropy over keys k >= 1 exceeds LayerNorm's by less than 0.02",
    source=N1,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    kind="training",
    unit="share of ln(t)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy_without_first_key_at_equal_loss(attention_entropy_at_loss):
    """Entropy over keys k >= 1, over ln(t), where the held-out loss passed 4.95 nats."""
    return attention_entropy_at_loss.sel(keys="rest", drop=True)


@claim(
    id="ablation.attention-norm-lies-between",
    statement=(
        "With a norm before attention alone, attention is more diffuse than with both, and less "
        "than with none, by 0.02 each."
    ),
    refuted_if="a step from both to attention-only to none is smaller than 0.02",
    source=N3,
    predicts=ordered("layernorm-both", "layernorm-attention", "none", over="models", by=SESOI),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_attention_only_between(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.ffn-norm-lies-between",
    statement=(
        "With a norm before the feed-forward alone, attention is more diffuse than with both, and "
        "less than with none, by 0.02 each."
    ),
    refuted_if="a step from both to feed-forward-only to none is smaller than 0.02",
    source=N3,
    predicts=ordered("layernorm-both", "layernorm-ffn", "none", over="models", by=SESOI),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_ffn_only_between(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.rmsnorm-before-attention-lies-between",
    statement=(
        "With RMSNorm before attention alone, attention is more diffuse than with both, and less "
        "than with none, by 0.02 each."
    ),
    refuted_if="a step from both to attention-only to none is smaller than 0.02",
    source=N3,
    predicts=ordered("rmsnorm-both", "rmsnorm-attention", "none", over="models", by=SESOI),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_rmsnorm_attention_only_between(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.rmsnorm-before-ffn-lies-between",
    statement=(
        "With RMSNorm before the feed-forward alone, attention is more diffuse than with both, and "
        "less than with none, by 0.02 each."
    ),
    refuted_if="a step from both to feed-forward-only to none is smaller than 0.02",
    source=N3,
    predicts=ordered("rmsnorm-both", "rmsnorm-ffn", "none", over="models", by=SESOI),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_rmsnorm_ffn_only_between(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


@claim(
    id="ablation.diffuse-attention-without-positions",
    statement="Without learned positions attention is more diffuse.",
    refuted_if="normalized entropy without positions exceeds that with them by less than 0.02",
    source=N1,
    predicts=contrast("layernorm-both-no-positions", "layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=SESOI,
    margin=SESOI,
)
def test_entropy_without_positions(attention_entropy):
    """Entropy of attention rows t >= 1 over ln(t + 1), mean over heads and blocks."""
    return attention_entropy.mean(("layer", "head"))


WHEN = "after 14 million tokens"
test_entropy_trained = restated(test_entropy, suffix="trained", when=WHEN)
test_entropy_without_first_key_trained = restated(
    test_entropy_without_first_key, suffix="trained", when=WHEN
)
test_entropy_tuned = at_best_rate(test_entropy)
