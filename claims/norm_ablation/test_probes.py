"""Row N9: blocks encode linguistic information differently.

Selectivity is the accuracy of a linear probe minus that of the control task. For each label the
best and the worst block are chosen on one half of the documents and their difference is scored on
the other half, both ways round, so that choosing the largest of six values gains nothing.

Regions were written down before anything was measured. The probe itself was changed once after
five seeds of layernorm-both had been seen: classes too rare to count could still be guessed, and
rare classes were guessed too often. The mean moved from .046 to .038, and the verdict did not.
"""

from refutable import Source, claim
from refutable.observables.probing.probes import best_minus_worst
from refutable.predictions import fact, over_seeds
from refutable.spec.claim import not_tagged, reads_text, restated, untrained

SOURCE = Source(study="norm-ablation", ref="N9")
SESOI = 0.05


@claim(
    id="ablation.blocks-encode-differently",
    statement="The blocks of a LayerNorm model encode linguistic information differently.",
    refuted_if="the most selective block is above the least selective by under 5 points",
    source=SOURCE,
    predicts=over_seeds("layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    kind="probing",
    unit="share",
    sesoi=SESOI,
    margin=SESOI,
)
def test_with_layernorm(probe_accuracy):
    """Selectivity of linear probes, best minus worst block, mean over labels; crosswise halves."""
    return best_minus_worst(probe_accuracy)


@claim(
    id="ablation.blocks-encode-differently-without-norms",
    statement="Blocks without norms inside them encode linguistic information differently.",
    refuted_if="the most selective block is above the least selective by under 5 points",
    source=SOURCE,
    predicts=over_seeds("none").above(SESOI),
    control=untrained(seeds=5),
    kind="probing",
    unit="share",
    sesoi=SESOI,
    margin=SESOI,
)
def test_without_norms(probe_accuracy):
    """Selectivity of linear probes, best minus worst block, mean over labels; crosswise halves."""
    return best_minus_worst(probe_accuracy)


@claim(
    id="ablation.blocks-of-one-model-encode-differently",
    statement="The blocks of a model encode linguistic information differently.",
    refuted_if="the most selective block is above the least selective by under 5 points",
    source=SOURCE,
    models=reads_text() & not_tagged("twin"),
    predicts=fact.above(SESOI),
    no_control="a fact is ranked among 19 copies, whose probes take a large model twenty minutes",
    kind="probing",
    unit="share",
    margin=SESOI,
)
def test_one_model(probe_accuracy):
    """Selectivity of linear probes, best minus worst block, mean over labels; crosswise halves."""
    return best_minus_worst(probe_accuracy)


WHEN = "after 14 million tokens"
test_with_layernorm_trained = restated(test_with_layernorm, suffix="trained", when=WHEN)
test_without_norms_trained = restated(test_without_norms, suffix="trained", when=WHEN)
