"""Row W1: size by category."""

from refutable import Source, claim, equals, replication
from refutable.predictions import fact
from refutable.spec.claim import named

SOURCE = Source(study="gpt2-weights", ref="W1")


def once_per_name(parameter_total):
    """Parameters with a tied tensor counted as often as it has names."""
    return parameter_total.sel(counted="named")


@claim(
    id="weights.gpt2-parameters",
    statement="GPT-2 small has 163,037,184 parameters.",
    refuted_if="the number of unique parameters is another",
    source=SOURCE,
    models=named("gpt2"),
    predicts=equals(163_037_184),
    no_control="a count: an untrained model of the config has the same",
    replication=replication(
        once_per_name,
        statement="Every named tensor counted, the tied unembedding so twice.",
        statistic="value",
        above=163_037_183,
        below=163_037_185,
        published={"gpt2": 163_037_184},
    ),
    kind="weights",
    unit="parameters",
)
def test_unique_parameters_of_gpt2(parameter_total):
    """Unique parameters of the config; a tied tensor counts once."""
    return parameter_total.sel(counted="unique")


@claim(
    id="weights.counted-once",
    statement="A count over all named tensors counts every parameter once.",
    refuted_if="a tensor has two names, as a tied unembedding does",
    source=SOURCE,
    predicts=equals(0.0),
    no_control="a count: an untrained model of the config has the same",
    kind="weights",
    unit="parameters",
)
def test_parameters_counted_twice(parameter_total):
    """Parameters counted more than once when every name is counted."""
    return parameter_total.sel(counted="named") - parameter_total.sel(counted="unique")


@claim(
    id="weights.feed-forward-largest",
    statement="The feed-forward layers hold more than half of a model's unique parameters.",
    refuted_if="their share is half or less",
    source=SOURCE,
    predicts=fact.above(0.5),
    no_control="a count: an untrained model of the config has the same",
    kind="weights",
    unit="share",
    margin=0.01,
)
def test_feed_forward_share(parameter_count):
    """Share of the unique parameters that are feed-forward weights and biases."""
    return parameter_count.sel(category="mlp") / parameter_count.sum("category")
