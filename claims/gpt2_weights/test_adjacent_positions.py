"""Row W4: adjacent positions correlate strongly; a shared mean and outliers inflate that."""

from refutable import Source, claim, replication
from refutable.predictions import fact
from refutable.spec.claim import positioned_by

SOURCE = Source(study="gpt2-weights", ref="W4")


def raw(position_adjacent_correlation):
    """Mean Pearson r of the raw embeddings of neighbouring positions."""
    return position_adjacent_correlation.sel(kind="raw").mean("position")


@claim(
    id="weights.adjacent-positions-alike",
    statement="Embeddings of adjacent positions correlate strongly.",
    refuted_if="their mean correlation is below 0.5 once each dimension is standardised",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.above(0.5),
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
    refuted_if="centring each dimension lowers their mean correlation by more than 0.05",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.within(-0.05, 0.05),
    kind="weights",
    unit="correlation",
    margin=0.02,
)
def test_effect_of_centring(position_adjacent_correlation):
    """Mean r of neighbouring positions, centred minus raw."""
    mean = position_adjacent_correlation.mean("position")
    return mean.sel(kind="centred") - mean.sel(kind="raw")
