"""Row C9: capacity sets the strategy. Two sizes that differ in width alone, over eight seeds."""

from refutable import Source, claim, untrained
from refutable.predictions import contrast

SOURCE = Source(study="thought-tokens", ref="C9")
PROMPTS = "modular-steps"


@claim(
    id="thoughts.smaller-concentrates",
    statement="The smaller model concentrates importance on fewer thoughts.",
    refuted_if="the effective number of thoughts, small minus large, lies above 0",
    source=SOURCE,
    prompts=PROMPTS,
    predicts=contrast("thoughts-small", "thoughts-large").below(0.0),
    control=untrained(seeds=5),
    sesoi=0.1,
    kind="training",
    unit="thoughts",
    margin=0.1,
)
def test_concentrates(thoughts_that_matter):
    """Exp of the entropy of the six thoughts' shares of the importance; 1 to 6."""
    return thoughts_that_matter


@claim(
    id="thoughts.larger-attends-to-what-matters",
    statement="The larger model's attention follows importance more closely.",
    refuted_if="the correlation of attention and importance, large minus small, lies below 0",
    source=SOURCE,
    prompts=PROMPTS,
    predicts=contrast("thoughts-large", "thoughts-small").above(0.0),
    control=untrained(seeds=5),
    sesoi=0.05,
    kind="training",
    unit="correlation",
    margin=0.05,
)
def test_attends(attention_follows_total_importance):
    """Correlation over six thoughts of attention from the answer and nats lost by resampling."""
    return attention_follows_total_importance


@claim(
    id="thoughts.smaller-is-brittle",
    statement="The smaller model loses more when a thought is another problem's.",
    refuted_if="the accuracy lost, small minus large, mean over thoughts, lies below 0",
    source=SOURCE,
    prompts=PROMPTS,
    predicts=contrast("thoughts-small", "thoughts-large").above(0.0),
    control=untrained(seeds=5),
    sesoi=0.05,
    kind="training",
    unit="accuracy",
    margin=0.05,
)
def test_brittle(total_importance):
    """Accuracy lost by resampling a thought, mean over the six."""
    return total_importance.sel(quantity="accuracy", drop=True).mean("thought")
