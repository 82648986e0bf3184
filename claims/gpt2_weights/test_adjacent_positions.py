"""Row W4: adjacent positions correlate strongly; a shared mean and outliers inflate that."""

from refutable import Source, claim, replication
from refutable.predictions import fact
from refutable.spec.claim import positioned_by, untrained_in

SOURCE = Source(study="gpt2-weights", ref="W4")
COPIES = "19 untrained models of the same config"
ALIKE = 0.1


def raw(position_adjacent_correlation):
    """Mean Pearson r of the raw embeddings of neighbouring positions."""
    return position_adjacent_correlation.sel(kind="raw").mean("position")


def adjacent_untrained(untrained_weight_views):
    """The same of each copy."""
    return untrained_weight_views.sel(view="adjacent_correlation", drop=True)


@claim(
    id="weights.adjacent-positions-alike",
    statement="Embeddings of adjacent positions correlate strongly.",
    refuted_if="their mean correlation is below 0.5 once each dimension is standardised",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.above(0.5),
    control=untrained_in(adjacent_untrained, statement=COPIES),
    replication=replication(
        raw, statement="Mean r of the raw embeddings.", statistic="value", above=0.5
    ),
    kind="weights",
    unit="correlation",
    margin=0.02,
)
def test_standardised_neighbours(position_adjacent_correlation):
    """Mean r of neighbouring positions, each dimension centred and scaled over positions."""
    return position_adjacent_correlation.sel(kind="standardised").mean("position")


@claim(
    id="weights.adjacent-positions-without-mean",
    statement="The likeness of adjacent positions does not rest on a mean shared by all positions.",
    refuted_if="centring each dimension takes more than a tenth of their mean correlation away",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.above(0.9),
    no_control="it is about a likeness, which untrained tables do not have",
    kind="weights",
    unit="share",
    margin=0.02,
)
def test_effect_of_centring(position_adjacent_correlation):
    """Mean r of neighbouring positions, centred over raw; undefined where raw is below 0.1.

    It was centred minus raw, within 0.05, until the twins had been seen: their positions are not
    alike at all (r = 0.01), and that was confirmed.
    """
    mean = position_adjacent_correlation.mean("position")
    raw_mean = mean.sel(kind="raw")
    return mean.sel(kind="centred") / raw_mean.where(raw_mean > ALIKE)
