"""Row W3: one dimension dominates the variance over positions (724 in GPT-2)."""

from refutable import Source, claim, equals, replication
from refutable.predictions import fact
from refutable.spec.claim import named, positioned_by, untrained_in

SOURCE = Source(study="gpt2-weights", ref="W3")
COPIES = "19 untrained models of the same config"


def largest_over_median(position_variance):
    """Variance of the largest dimension over that of the median one."""
    return position_variance.max("dim") / position_variance.median("dim")


def dominant_untrained(untrained_weight_views):
    """The same of each copy."""
    return untrained_weight_views.sel(view="dominant_share", drop=True)


@claim(
    id="weights.position-dimension-dominates",
    statement="One dimension of the position embeddings dominates their variance over positions.",
    refuted_if="the largest dimension holds less than half of it",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.above(0.5),
    control=untrained_in(dominant_untrained, statement=COPIES),
    replication=replication(
        largest_over_median,
        statement="Variance of the largest dimension over the median one's.",
        statistic="value",
        above=2.0,
    ),
    kind="weights",
    unit="share",
    margin=0.02,
)
def test_share_of_the_largest_dimension(position_variance):
    """Share of the variance over positions in its largest dimension."""
    return position_variance.max("dim") / position_variance.sum("dim")


@claim(
    id="weights.gpt2-position-dimension",
    statement="In GPT-2 small the dimension that varies most over positions is 724.",
    refuted_if="it is another",
    source=SOURCE,
    models=named("gpt2"),
    predicts=equals(724),
    no_control="the index of one dimension of one checkpoint",
    kind="weights",
    unit="index",
)
def test_largest_dimension(position_variance):
    """Index of the dimension of largest variance over positions."""
    return position_variance.argmax("dim")
