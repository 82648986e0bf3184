"""Row N11: norms make a model robust to noise in its text."""

from refutable import Source, claim
from refutable.observables.prose.text import noise_slope
from refutable.predictions import contrast
from refutable.spec.claim import restated, untrained
from refutable.studies.norm_ablation.arms import at_best_rate

SOURCE = Source(study="norm-ablation", ref="N11")
SESOI = 0.1


@claim(
    id="ablation.word-noise",
    statement=(
        "Without norms inside the blocks the loss rises faster with the share of replaced words."
    ),
    refuted_if="the slope exceeds that with LayerNorm by less than 0.1 nats",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    unit="nats per share of words",
    sesoi=SESOI,
    margin=SESOI,
)
def test_word_noise(noisy_loss):
    """Slope of held-out loss over 0, 5, 10 and 20 % of words replaced by others of the text."""
    return noise_slope(noisy_loss, "words")


@claim(
    id="ablation.character-noise",
    statement=(
        "Without norms inside the blocks the loss rises faster with the share of misspelt words."
    ),
    refuted_if="the slope exceeds that with LayerNorm by less than 0.1 nats",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both").above(SESOI),
    control=untrained(seeds=5),
    unit="nats per share of words",
    sesoi=SESOI,
    margin=SESOI,
)
def test_character_noise(noisy_loss):
    """Slope of held-out loss over 0, 5, 10 and 20 % of words with two letters swapped."""
    return noise_slope(noisy_loss, "characters")


WHEN = "after 14 million tokens"
test_word_noise_trained = restated(test_word_noise, suffix="trained", when=WHEN)
test_character_noise_trained = restated(test_character_noise, suffix="trained", when=WHEN)
test_word_noise_tuned = at_best_rate(test_word_noise)
test_character_noise_tuned = at_best_rate(test_character_noise)
