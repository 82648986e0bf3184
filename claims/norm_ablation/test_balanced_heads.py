"""Row N2: heads are balanced, and some attend to syntax. The study defines neither.

Definitions and regions were written down before anything was measured. Balanced: heads of one
block have nearly the same entropy. Syntax, without a parser: tokens that continue a word attend to
the word's first token, beyond what the key's distance alone gives; the head is chosen on half of
the documents and read on the other half.
"""

from refutable import Source, claim
from refutable.observables.prose.syntax import best_elsewhere
from refutable.predictions import mean, over_seeds
from refutable.spec.claim import at_least_heads, reads_text, restated, untrained

SOURCE = Source(study="norm-ablation", ref="N2")
SPREAD = 0.1
EXCESS = 0.05


@claim(
    id="ablation.balanced-heads",
    statement="The heads of a block are balanced: their attention is about equally diffuse.",
    refuted_if="normalized entropies of a block's heads have a standard deviation above 0.1",
    source=SOURCE,
    models=at_least_heads(2),
    predicts=mean.below(SPREAD),
    control=untrained(seeds=5),
    unit="share of ln(t + 1)",
    sesoi=0.02,
    margin=0.02,
)
def test_spread_of_entropy(attention_entropy):
    """Standard deviation over a block's heads of attention entropy, mean over blocks."""
    return attention_entropy.std("head").mean("layer")


@claim(
    id="ablation.head-follows-words",
    statement="Some head attends from the later tokens of a word to its first one.",
    refuted_if="it gives that token less than 0.05 more than its distance alone explains",
    source=SOURCE,
    models=at_least_heads(2) & reads_text(),
    predicts=mean.above(EXCESS),
    control=untrained(seeds=5),
    unit="share",
    sesoi=EXCESS,
    margin=EXCESS,
)
def test_word_arcs(word_arcs):
    """Attention on the word's first token beyond that distance elsewhere, best head of others."""
    return best_elsewhere(word_arcs).rename(text="prompt")


@claim(
    id="ablation.base-model-follows-words",
    statement="Training with LayerNorm makes a head that attends to the first token of its word.",
    refuted_if="over training seeds it gives that token less than 0.05 more than elsewhere",
    source=SOURCE,
    predicts=over_seeds("layernorm-both").above(EXCESS),
    control=untrained(seeds=5),
    kind="training",
    unit="share",
    sesoi=EXCESS,
    margin=EXCESS,
)
def test_word_arcs_over_seeds(word_arcs):
    """The same over training seeds, the head chosen for each; documents are units too."""
    return best_elsewhere(word_arcs).rename(text="prompt")


WHEN = "after 14 million tokens"
test_word_arcs_over_seeds_trained = restated(test_word_arcs_over_seeds, suffix="trained", when=WHEN)
